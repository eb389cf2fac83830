"""An extension for a deployment template: the resource alone, as in the extension's documentation, or a whole template
that deploys what the product would request.

It never has values of protected settings: each is a secure parameter. `arm_template` and `bicep_template` write it in
their languages.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.resource_id import VmId

EXTENSIONS = "Microsoft.Compute/virtualMachines/extensions"
MACHINES = "Microsoft.Compute/virtualMachines"
MACHINE_VERSION = "2024-07-01"


class Placement(StrEnum):
    """Where the extension is in the template: in the VM's `resources`, or at the root."""

    NESTED = "nested"
    ROOT = "root"


class Expression(Struct, frozen=True):
    """An expression that the deployment computes, in both languages."""

    arm: str
    bicep: str


class Parameter(Struct, frozen=True):
    """A parameter of the template."""

    name: str
    description: str
    secure: bool = False
    default: str | Expression | None = None  # None if the deployment must give a value

    @property
    def reference(self) -> Expression:
        return Expression(f"parameters('{self.name}')", self.name)


class ExtensionTemplate(Struct, frozen=True):
    """What the template contains."""

    entry: CatalogueEntry
    placement: Placement
    vm: str = ""  # the VM's name; empty to make it a parameter
    location: str = ""  # the region; empty for the resource group's
    public: Mapping[str, Any] = field(default_factory=dict)  # the public settings whose values are known
    undecided: tuple[str, ...] = ()  # the names of the other public settings, which become parameters
    protected: tuple[str, ...] = ()  # the names of the protected settings, which become secure parameters
    complete: bool = False  # a whole template, not the resource alone

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters: of a whole template everything that differs from VM to VM, of a resource alone as few as
        possible."""
        settings = [Parameter(name, f"Setting {name} of the extension.") for name in self.undecided]
        secure = [
            Parameter(name, f"Protected setting {name} of the extension.", secure=True) for name in self.protected
        ]
        if not self.complete:
            where = [] if self.vm else [_VM_NAME]
            return (*where, *settings, *secure)
        texts = [
            Parameter(name, f"Setting {name} of the extension.", default=value)
            for name, value in self.public.items()
            if isinstance(value, str)
        ]
        machine = Parameter(_VM_NAME.name, _VM_NAME.description, default=self.vm or None)
        location = Parameter("location", "Region of the VM.", default=self.location or _GROUPS_LOCATION)
        new = self._new_machine if self.placement is Placement.NESTED else ()
        return (machine, location, *new, *texts, *settings, *secure)

    @property
    def _new_machine(self) -> tuple[Parameter, ...]:
        secret = _PASSWORD if self.entry.os_type is OsType.WINDOWS else _SSH_KEY
        return (*_NEW_MACHINE, secret, _NETWORK_INTERFACE)

    @property
    def machine(self) -> str | Expression:
        """The name of the VM."""
        return _VM_NAME.reference if self.complete or not self.vm else self.vm

    @property
    def region(self) -> str | Expression:
        if self.complete:
            return Expression("parameters('location')", "location")
        return self.location or _GROUPS_LOCATION

    def properties(self) -> dict[str, Any]:
        """The extension's properties. The documentation's example leaves automatic upgrades to the platform; the
        product's requests do not."""
        entry = self.entry
        references = {parameter.name: parameter.reference for parameter in self.parameters}
        upgrade = {"autoUpgradeMinorVersion": entry.auto_upgrade_minor_version} if self.complete else {}
        return {
            "publisher": entry.publisher,
            "type": entry.type,
            "typeHandlerVersion": entry.version,
            **upgrade,
            "settings": {
                **{name: references.get(name, value) for name, value in self.public.items()},
                **{name: references[name] for name in self.undecided},
            },
            "protectedSettings": {name: references[name] for name in self.protected},
        }

    def new_machine(self) -> dict[str, Any]:
        """The properties of the VM that a whole template with a nested extension creates."""
        named = {parameter.name: parameter.reference for parameter in self._new_machine}
        return {
            "hardwareProfile": {"vmSize": named["vmSize"]},
            "storageProfile": {
                "imageReference": {
                    "publisher": named["imagePublisher"],
                    "offer": named["imageOffer"],
                    "sku": named["imageSku"],
                    "version": "latest",
                },
                "osDisk": {"createOption": "FromImage"},
            },
            "osProfile": {
                "computerName": self.machine,
                "adminUsername": named["adminUsername"],
                **self._log_on(named),
            },
            "networkProfile": {"networkInterfaces": [{"id": named["networkInterfaceId"]}]},
        }

    def _log_on(self, named: Mapping[str, Expression]) -> dict[str, Any]:
        if self.entry.os_type is OsType.WINDOWS:
            return {"adminPassword": named["adminPassword"], "windowsConfiguration": {"provisionVMAgent": True}}
        home = Expression(
            "concat('/home/', parameters('adminUsername'), '/.ssh/authorized_keys')",
            "'/home/${adminUsername}/.ssh/authorized_keys'",
        )
        keys = {"publicKeys": [{"path": home, "keyData": named["sshPublicKey"]}]}
        return {"linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": keys}}


_VM_NAME = Parameter("vmName", "Name of the VM.")
_GROUPS_LOCATION = Expression("resourceGroup().location", "resourceGroup().location")
_NEW_MACHINE = (
    Parameter("vmSize", "Size of the VM.", default="Standard_D2s_v3"),
    Parameter("imagePublisher", "Publisher of an image that the extension supports."),
    Parameter("imageOffer", "Offer of the image."),
    Parameter("imageSku", "SKU of the image."),
    Parameter("adminUsername", "Name of the administrator."),
)
_SSH_KEY = Parameter("sshPublicKey", "Public SSH key of the administrator.")
_PASSWORD = Parameter("adminPassword", "Password of the administrator.", secure=True)
_NETWORK_INTERFACE = Parameter("networkInterfaceId", "Resource id of the network interface.")


def az_extension_set(
    vm: VmId, entry: CatalogueEntry, name: str, public: Mapping[str, Any], protected: Iterable[str]
) -> str:
    """The command `az vm extension set`. Its `--name` is the extension's type, not the resource's name."""
    placeholders = {key: f"<{key}>" for key in protected}
    arguments = [
        ("--subscription", vm.subscription),
        ("--resource-group", vm.resource_group),
        ("--vm-name", vm.name),
        ("--name", entry.type),
        ("--extension-instance-name", name),
        ("--publisher", entry.publisher),
        ("--version", entry.version),
        ("--protected-settings", json.dumps(placeholders)),
        ("--settings", json.dumps(dict(public))),
    ]
    lines = [f"{option} {shlex.quote(value)}" for option, value in arguments]
    if not entry.auto_upgrade_minor_version:
        lines.append("--no-auto-upgrade-minor-version true")
    return " \\\n  ".join(["az vm extension set", *lines])
