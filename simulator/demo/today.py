"""The part of the demo's fleet that gets the agent of today, the Azure Monitor Agent, on Linux and Windows: with all
kinds of identity, with an association that is refused, and with VMs whose agent is installed and sends nothing, which
ARM cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import ceil
from typing import Any

from simulator.arm import Application, ArmSimulator, Guest, Obstacle, Power, VmSpec
from simulator.demo.fleet import Expectation, Member, Story

TODAY = "00000000-0000-4000-8000-000000000004"
"""The subscription of these VMs, by which the policies choose."""
_EXTENSIONS = {"Linux": "azure-monitor-agent-linux", "Windows": "azure-monitor-agent-windows"}
_HANDLERS = {
    "Linux": "Microsoft.Azure.Monitor.AzureMonitorLinuxAgent",
    "Windows": "Microsoft.Azure.Monitor.AzureMonitorWindowsAgent",
}

_SCOPE = f"/subscriptions/{TODAY}/resourceGroups/rg-monitor/providers"
_IDENTITIES = f"{_SCOPE}/Microsoft.ManagedIdentity/userAssignedIdentities"
_RULES = f"{_SCOPE}/Microsoft.Insights/dataCollectionRules"
RULE, OTHER_RULE = f"{_RULES}/dcr-servers", f"{_RULES}/dcr-windows"
_APP, _BACKUP = f"{_IDENTITIES}/id-app", f"{_IDENTITIES}/id-backup"
SETTINGS = {
    "DATA_COLLECTION_RULE_ID": RULE,
    "OTHER_RULE_ID": OTHER_RULE,
    "GONE_RULE_ID": f"{_RULES}/dcr-deleted",
}
_RULE_OF_TAG = {"": RULE, "other": OTHER_RULE}

_IMAGES = {
    "Linux": (
        ("Canonical:0001-com-ubuntu-server-jammy:22_04-lts", "ubuntu", "22.04"),
        ("Canonical:ubuntu-24_04-lts:server-gen1", "ubuntu", "24.04"),
        ("Debian:debian-12:12-gen2", "debian", "12.5"),
        ("RedHat:RHEL:9_4", "redhat", "9.4"),
    ),
    "Windows": (
        (
            "MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition",
            "Windows Server 2022 Datacenter",
            "10.0.20348.2031",
        ),
        (
            "MicrosoftWindowsServer:WindowsServer:2019-datacenter-gensecond",
            "Windows Server 2019 Datacenter",
            "10.0.17763.1217",
        ),
    ),
}
_OTHERS_EACH = 3
_SYSTEM = {"type": "SystemAssigned"}


def _users(*ids: str) -> dict[str, Any]:
    return {"type": "UserAssigned", "userAssignedIdentities": {each: {} for each in ids}}


@dataclass(frozen=True, slots=True)
class _Kind:
    """Some VMs of the same sort; `spec` is what they have of their own."""

    name: str
    expected: Expectation
    spec: Mapping[str, Any] = field(default_factory=dict)
    story: Story = Story.NONE
    system: str = "Linux"


_INSTALLED, _WITH_IDENTITY = Expectation("Installed"), Expectation("Installed", calls=4)
_KINDS = (
    _Kind(
        "ama-offline",
        Expectation("Installed", calls=4, silent=Obstacle.NETWORK),
        {"network_blocked": True, "identity": _SYSTEM},
    ),
    _Kind(
        "ama-misfit",
        Expectation("Installed", calls=4, silent=Obstacle.OTHER_SYSTEM),
        {"tags": {"rule": "other"}, "identity": _SYSTEM},
    ),
    _Kind("ama-plain", _INSTALLED),
    _Kind("ama-windows", _INSTALLED, system="Windows"),
    _Kind("ama-win-app", _WITH_IDENTITY, {"identity": _users(_APP)}, system="Windows"),
    _Kind("ama-system", _WITH_IDENTITY, {"identity": _SYSTEM}),
    _Kind("ama-foreign", _WITH_IDENTITY, {"identity": _users(_APP)}),
    _Kind("ama-several", _WITH_IDENTITY, {"identity": _users(_APP, _BACKUP)}),
    _Kind("ama-no-rule", Expectation("Failed", "NotFound"), {"tags": {"rule": "gone"}, "identity": _SYSTEM}),
    _Kind("ama-asleep", _INSTALLED, {"power": Power.STOPPED}, Story.START_LATER),
)


def make_today(others: int) -> tuple[Member, ...]:
    """The VMs beside so many others, at least one of each kind: of the whole fleet, one in twenty sends nothing."""
    size = max(len(_KINDS), ceil(others / _OTHERS_EACH))
    return tuple(
        _member(kind, number // len(_KINDS) + 1, number) for number, kind in enumerate(islice(cycle(_KINDS), size))
    )


def prepare(arm: ArmSimulator, settings: Mapping[str, str]) -> None:
    """Create the rules, and what settings of policies of one's own name; other identities come with their VMs."""
    arm.insights.resources.add_rule(RULE)
    arm.insights.resources.add_rule(OTHER_RULE, kind="Windows")
    for value in settings.values():
        if "/providers/microsoft.managedidentity/userassignedidentities/" in value.lower():
            arm.identities.add(value)


def lacking(arm: ArmSimulator, members: Sequence[Member]) -> dict[str, str]:
    """What each VM with the agent lacks of all that ARM can prove: identity, extension, association."""
    found = {}
    for member in members:
        machine = arm.machines[member.id]
        agent = machine.find_handler(_HANDLERS[member.spec.os_type], other_than="")
        rule = _RULE_OF_TAG.get(member.spec.tags.get("rule", ""))
        facts = {
            "an identity": bool(machine.identity.held()),
            "an extension that succeeded": agent is not None and agent.provisioning_state == "Succeeded",
            "its association": rule in [each.id for each in arm.insights.associations.rules_of(machine)],
        }
        found[member.id] = ", ".join(name for name, there in facts.items() if not there)
    return found


def _member(kind: _Kind, number: int, place: int) -> Member:
    images = _IMAGES[kind.system]
    reference, os_name, os_version = images[place % len(images)]
    publisher, offer, sku = reference.split(":")
    spec = VmSpec(
        name=f"{kind.name}-{number:02}",
        group="rg-today",
        subscription=TODAY,
        image={"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"},
        os_type=kind.system,
        guest=Guest(os_name=os_name, os_version=os_version, agent_delay=0),
        applications=(Application("app"),),
        **kind.spec,
    )
    return Member(kind.name, spec, kind.story, kind.expected, _EXTENSIONS[kind.system])
