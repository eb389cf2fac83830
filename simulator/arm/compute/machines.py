"""The state of virtual machines and their extensions, and how they are found.

Ids arrive in any spelling: lookups use folded keys, answers show the stored spelling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.arm.compute.spec import Agent, Application, Guest, HandlerRun, Power, Uninstall
from simulator.arm.identity.machine_identity import NOTHING, MachineIdentity


@dataclass(slots=True, eq=False)
class Extension:
    """One extension resource. `runs` counts the handler's runs, `attempt` the writes, so that a run can see whether a
    later write has replaced it. Protected settings are in no answer, log or repr."""

    name: str
    location: str
    publisher: str
    type: str
    properties: dict[str, Any]
    protected_settings: dict[str, Any] = field(default_factory=dict, repr=False)
    tags: dict[str, str] = field(default_factory=dict)
    provisioning_state: str = "Creating"
    handler_version: str = ""
    handler_status: dict[str, Any] | None = None
    statuses: list[dict[str, Any]] = field(default_factory=list)
    attempt: int = 0
    runs: int = 0
    ran_at: float = 0.0
    """When its handler ended its last run, in seconds of the clock."""
    serves: bool = False
    """Whether what the handler installed runs in the VM: from its first successful run until it is removed. An update
    under way does not stop it."""

    @property
    def handler(self) -> str:
        return f"{self.publisher}.{self.type}"

    @property
    def deleting(self) -> bool:
        return self.provisioning_state == "Deleting"


@dataclass(slots=True, eq=False)
class Machine:
    """One virtual machine: the stored body, its real guest, and its current state."""

    subscription: str
    group: str
    name: str
    body: dict[str, Any]
    guest: Guest
    created: datetime
    vm_id: str
    power: Power = Power.STARTING
    provisioning_state: str = "Creating"
    provisioned_at: datetime | None = None
    generalized: bool = False
    booting: bool = True
    agent_at: float | None = None
    agent_seen: datetime | None = None
    boots: int = 0
    booted_at: float = 0.0
    etag: int = 1
    identity: MachineIdentity = NOTHING
    unsettled: frozenset[str] = frozenset()
    """The identities that a write under way is adding: folded ids, and `system`."""
    identity_since: dict[str, float] = field(default_factory=dict)
    """Since when it has each identity, in seconds of the clock."""
    applications: tuple[Application, ...] = ()
    network_blocked: bool = False
    old_endpoints_only: bool = False
    runs: tuple[HandlerRun, ...] = ()
    runs_of: str = "*"
    uninstall: Uninstall = Uninstall.CLEAN
    uninstall_of: str = "*"
    leftovers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the guest agent still lists of handlers that are gone, by the handler's name in lower case."""
    extensions: dict[str, Extension] = field(default_factory=dict)

    @property
    def id(self) -> str:
        scope = f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
        return f"{scope}/providers/Microsoft.Compute/virtualMachines/{self.name}"

    @property
    def key(self) -> str:
        return self.id.lower()

    @property
    def location(self) -> str:
        return str(self.body["location"])

    @property
    def etag_text(self) -> str:
        """As answers show it and `If-Match` names it: a number in quotes."""
        return f'"{self.etag}"'

    @property
    def deleting(self) -> bool:
        return self.provisioning_state == "Deleting"

    @property
    def os_type(self) -> str:
        """As the disk says, else what really runs."""
        disk = self.body["properties"].get("storageProfile", {}).get("osDisk", {})
        found = "Windows" if self.guest.os_name.lower().startswith("windows") else "Linux"
        return str(disk.get("osType", found))

    def show_system(self) -> None:
        """The guest agent has reported: from now on the disk says the system, if it did not and the agent knows it."""
        disk = self.body["properties"].get("storageProfile", {}).get("osDisk", {})
        if self.guest.agent is not Agent.NAMELESS:
            disk.setdefault("osType", self.os_type)

    @property
    def extensions_allowed(self) -> bool:
        profile = self.body["properties"].get("osProfile", {})
        configuration = profile.get("linuxConfiguration") or profile.get("windowsConfiguration") or {}
        allowed = profile.get("allowExtensionOperations") is not False
        return allowed and configuration.get("provisionVMAgent") is not False and self.guest.agent is not Agent.ABSENT

    def agent_ready(self, seconds: float) -> bool:
        """Whether the guest agent has reported since the last boot; `seconds` is the clock's simulated time."""
        return self.power is Power.RUNNING and self.agent_at is not None and seconds >= self.agent_at

    def find_handler(self, handler: str, other_than: str) -> Extension | None:
        """An extension of that handler under another name."""
        return next(
            (
                e
                for name, e in self.extensions.items()
                if e.handler.lower() == handler.lower() and name != other_than.lower()
            ),
            None,
        )


class Machines:
    """All virtual machines, by id in any spelling, and their subscriptions and groups."""

    def __init__(self, subscriptions: Iterable[str] = ()) -> None:
        self._subscriptions = {subscription.lower() for subscription in subscriptions}
        self._machines: dict[str, Machine] = {}
        self._groups: dict[str, tuple[str, str]] = {}

    def __iter__(self) -> Iterator[Machine]:
        return iter(list(self._machines.values()))

    def __len__(self) -> int:
        return len(self._machines)

    def __getitem__(self, resource_id: str) -> Machine:
        return self._machines[resource_id.lower()]

    def find(self, resource_id: str) -> Machine | None:
        return self._machines.get(resource_id.lower())

    def add(self, machine: Machine) -> None:
        machine.group = self.add_group(machine.subscription, machine.group, machine.location)
        if machine.key in self._machines:
            raise ValueError(f"{machine.id} is there already: give the VM another name, or delete the first")
        self._machines[machine.key] = machine

    def remove(self, machine: Machine) -> None:
        self._machines.pop(machine.key, None)

    def listed(self, subscription: str, group: str | None = None) -> list[Machine]:
        """The machines of a subscription or of one group, in a stable order."""
        chosen = (m for m in self if m.subscription.lower() == subscription.lower())
        return sorted(
            (m for m in chosen if group is None or m.group.lower() == group.lower()), key=lambda machine: machine.key
        )

    def add_group(self, subscription: str, group: str, location: str) -> str:
        """Remember a group; the first spelling is kept."""
        self._subscriptions.add(subscription.lower())
        return self._groups.setdefault(_group_key(subscription, group), (group, location))[0]

    @property
    def subscriptions(self) -> list[str]:
        return sorted(self._subscriptions)

    def knows(self, subscription: str) -> bool:
        return subscription.lower() in self._subscriptions

    def groups(self, subscription: str) -> list[tuple[str, str]]:
        """The stored names and locations of a subscription's groups, in order."""
        return sorted(group for key, group in self._groups.items() if key.startswith(f"{subscription.lower()}/"))

    def find_group(self, subscription: str, group: str) -> tuple[str, str] | None:
        """A group's stored name and location."""
        return self._groups.get(_group_key(subscription, group))


def _group_key(subscription: str, group: str) -> str:
    return f"{subscription}/{group}".lower()
