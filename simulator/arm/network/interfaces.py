"""Network interfaces: each one that a VM names exists, with a private address and without a public one."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulator.arm.compute.machines import Machine, Machines

INTERFACES = "Microsoft.Network/networkInterfaces"
_NAMESPACE = uuid.UUID("00000000-0000-4000-8000-0000000000f0")


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface of a machine; its addresses follow from its id."""

    id: str
    machine: str
    location: str
    primary: bool

    @property
    def key(self) -> str:
        return self.id.lower()

    def body(self) -> dict[str, Any]:
        """The answer to a GET of the interface."""
        name, scope = self.id.rpartition("/")[2], self.id.partition("/providers/")[0]
        number = zlib.crc32(self.key.encode())
        octets = [number >> shift & 0xFF for shift in (16, 8, 0)]
        configuration = {
            "name": "ipconfig1",
            "id": f"{self.id}/ipConfigurations/ipconfig1",
            "type": f"{INTERFACES}/ipConfigurations",
            "properties": {
                "provisioningState": "Succeeded",
                "privateIPAddress": f"10.{octets[0]}.{octets[1]}.{octets[2] % 250 + 4}",
                "privateIPAllocationMethod": "Dynamic",
                "privateIPAddressVersion": "IPv4",
                "primary": True,
                "subnet": {"id": f"{scope}/providers/Microsoft.Network/virtualNetworks/vnet/subnets/default"},
            },
        }
        return {
            "name": name,
            "id": self.id,
            "type": INTERFACES,
            "location": self.location,
            "properties": {
                "provisioningState": "Succeeded",
                "resourceGuid": str(uuid.uuid5(_NAMESPACE, self.key)),
                "ipConfigurations": [configuration],
                "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
                "macAddress": "-".join(["00", "0D", "3A", *(f"{octet:02X}" for octet in octets)]),
                "enableAcceleratedNetworking": False,
                "enableIPForwarding": False,
                "primary": self.primary,
                "virtualMachine": {"id": self.machine},
            },
        }


def interfaces_of(machine: Machine) -> Iterator[Interface]:
    profile = machine.body["properties"].get("networkProfile") or {}
    for place, reference in enumerate(profile.get("networkInterfaces") or ()):
        primary = (reference.get("properties") or {}).get("primary", place == 0)
        yield Interface(str(reference["id"]), machine.id, machine.location, bool(primary))


def find_interface(machines: Machines, resource_id: str) -> Interface | None:
    """The interface with that id, in any spelling."""
    found = (interface for machine in machines for interface in interfaces_of(machine))
    return next((interface for interface in found if interface.key == resource_id.lower()), None)


def listed_interfaces(machines: Machines, scope: str) -> list[Interface]:
    """The interfaces of a subscription or group, which `scope` names, in the order of their ids."""
    found = (interface for machine in machines for interface in interfaces_of(machine))
    return sorted((each for each in found if each.key.startswith(f"{scope.lower()}/")), key=lambda each: each.key)
