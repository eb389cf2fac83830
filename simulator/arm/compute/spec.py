"""The specification of a virtual machine in the simulator, and of what really runs inside it.

The body of a VM is the request; `Guest` is what really runs inside, which Azure learns only when the agent reports.
`HandlerRun` scripts the runs of an extension handler on this VM; without a script it behaves like the real one on that
operating system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Power(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"


# the target of each transitional power state
GOALS = {Power.STARTING: Power.RUNNING, Power.STOPPING: Power.STOPPED, Power.DEALLOCATING: Power.DEALLOCATED}


class Agent(StrEnum):
    """How the guest agent behaves: `STALE` leaves its last "Ready" behind when the VM is deallocated, `NAMELESS` is
    an old one that never reports osName and osVersion, `ABSENT` was never installed."""

    REPORTS = "reports"
    SILENT = "silent"
    STALE = "stale"
    NAMELESS = "nameless"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What really runs inside the VM."""

    os_name: str = "ubuntu"
    os_version: str = "16.04"
    architecture: str = "x64"
    agent: Agent = Agent.REPORTS
    agent_delay: float | None = None
    """Simulated seconds from each boot to the agent's first report; None: drawn at random."""
    agent_version: str = "2.9.1.1"
    workspace: str = ""
    """The workspace that an agent in this VM reports to already; empty without one."""


class Ending(StrEnum):
    """How one run of a handler ends: it exits, the guest agent stops it, it never reports, or it writes its final
    error under `transitioning` (which real handlers do)."""

    EXIT = "exit"
    TIMEOUT = "timeout"
    SILENT = "silent"
    TRANSITIONING = "transitioning"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRun:
    """One scripted run. `text` replaces the handler's usual text for that exit code; `error` is the operation's error
    (code and message), for failures of the platform itself."""

    exit_code: int = 0
    operation: str = "Install"
    text: str = ""
    ending: Ending = Ending.EXIT
    seconds: float | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """An application in the VM that gets tokens from the metadata endpoint, with the identity of that id; empty: it
    names none."""

    name: str
    identity: str = ""


class Uninstall(StrEnum):
    """How the removal of a handler goes in the VM. `REFUSED`: its `disable` fails, as after the agent was purged by
    hand. `LOST`: the guest agent does not find the installed version and tries for ever. `INCOMPLETE`: the resource
    goes and parts stay in the VM, so that the guest agent still lists the handler and its next install hangs."""

    CLEAN = "clean"
    REFUSED = "refused"
    LOST = "lost"
    INCOMPLETE = "incomplete"


def locked_package_manager(tries: int) -> tuple[HandlerRun, ...]:
    """Runs that fail that many times with a locked package manager and then succeed."""
    return (*(HandlerRun(exit_code=55) for _ in range(tries)), HandlerRun())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionSpec:
    """An extension that exists already, or that another deployer installs."""

    name: str
    publisher: str
    type: str
    version: str = "1.0"
    auto_upgrade: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    protected_settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    failed_with: HandlerRun | None = None

    def body(self, location: str) -> dict[str, Any]:
        properties: dict[str, Any] = {
            "publisher": self.publisher,
            "type": self.type,
            "typeHandlerVersion": self.version,
            "autoUpgradeMinorVersion": self.auto_upgrade,
            "settings": dict(self.settings),
        }
        if self.protected_settings:
            properties["protectedSettings"] = dict(self.protected_settings)
        return {"location": location, "properties": properties}


UBUNTU_1604: Mapping[str, str] = {
    "publisher": "Canonical",
    "offer": "UbuntuServer",
    "sku": "16.04-LTS",
    "version": "latest",
    "exactVersion": "16.04.202109280",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSpec:
    """`image` is an imageReference in ARM's own words, any of its five forms, or None for a VM made from an attached
    disk (then it has no osProfile either). Without an `os_type` the body does not say the system before the guest agent
    has reported it. `runs` are the scripted runs, the last one repeating, of the handlers whose name (publisher.type)
    matches the pattern `runs_of`; `uninstall` is how those that match `uninstall_of` are removed."""

    name: str
    group: str = "rg-fleet"
    subscription: str = "00000000-0000-4000-8000-000000000001"
    location: str = "westeurope"
    image: Mapping[str, Any] | None = field(default_factory=lambda: UBUNTU_1604)
    plan: Mapping[str, str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    os_type: str = "Linux"
    guest: Guest = Guest()
    power: Power = Power.RUNNING
    generalized: bool = False
    size: str = "Standard_D2s_v3"
    zones: tuple[str, ...] = ()
    identity: Mapping[str, Any] | None = None
    managed_by: str = ""
    scale_set: str = ""
    provision_vm_agent: bool | None = True
    allow_extension_operations: bool | None = True
    extensions: tuple[ExtensionSpec, ...] = ()
    runs: tuple[HandlerRun, ...] = ()
    runs_of: str = "*"
    uninstall: Uninstall = Uninstall.CLEAN
    uninstall_of: str = "*"
    applications: tuple[Application, ...] = ()
    network_blocked: bool = False
    """Whether the agents in the VM cannot reach Azure Monitor."""
    old_endpoints_only: bool = False
    """Whether its firewall lets through what the OMS agent sends, and nothing that the Azure Monitor Agent sends."""
    creation_error: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        scope = f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
        return f"{scope}/providers/Microsoft.Compute/virtualMachines/{self.name}"

    def body(self) -> dict[str, Any]:
        """The PUT body that creates this VM."""
        properties: dict[str, Any] = {
            "hardwareProfile": {"vmSize": self.size},
            "storageProfile": self._storage_profile(),
            "networkProfile": {"networkInterfaces": [{"id": f"{self._network}/networkInterfaces/{self.name}-nic"}]},
        }
        if self.image is not None:
            properties["osProfile"] = self._os_profile()
        if self.scale_set:
            properties["virtualMachineScaleSet"] = {"id": self.scale_set}
        optional = {
            "tags": dict(self.tags),
            "plan": dict(self.plan or {}),
            "zones": list(self.zones),
            "identity": dict(self.identity or {}),
            "managedBy": self.managed_by,
        }
        return {"location": self.location, "properties": properties} | {k: v for k, v in optional.items() if v}

    @property
    def _network(self) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/providers/Microsoft.Network"

    def _storage_profile(self) -> dict[str, Any]:
        disk = {
            "name": f"{self.name}-osdisk",
            "createOption": "Attach" if self.image is None else "FromImage",
            "caching": "ReadWrite",
            "managedDisk": {"storageAccountType": "Premium_LRS"},
        }
        system = {"osType": self.os_type} if self.os_type else {}
        image = {} if self.image is None else {"imageReference": dict(self.image)}
        return {**image, "osDisk": {**system, **disk}, "dataDisks": []}

    def _os_profile(self) -> dict[str, Any]:
        flags = {} if self.provision_vm_agent is None else {"provisionVMAgent": self.provision_vm_agent}
        profile: dict[str, Any] = {"computerName": self.name, "adminUsername": "azureuser"}
        if self.os_type == "Windows":
            profile["windowsConfiguration"] = {**flags, "enableAutomaticUpdates": True}
        else:
            profile["linuxConfiguration"] = {**flags, "disablePasswordAuthentication": True}
        if self.allow_extension_operations is not None:
            profile["allowExtensionOperations"] = self.allow_extension_operations
        return profile
