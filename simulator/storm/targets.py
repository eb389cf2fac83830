"""What the storm's policies want: the OMS agent, or that it goes; the Azure Monitor Agent for Linux and Windows, with
an identity and a rule; and extensions that the policy folder's own catalogue entries describe, one or four of them. And
the outcome that each must have on each VM.

The outcomes follow from the fleet's own description and from the handlers of the simulated artifact repository. No code
of the product is used.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.arm import Agent, VmSpec
from simulator.arm.compute.artifacts import Artifacts, Handler, Release
from simulator.arm.insights.agent_settings import LINUX_AGENT, WINDOWS_AGENT
from simulator.arm.options import OMS_HANDLER
from simulator.demo.fleet import Expectation, Member
from simulator.laptop import ROOT
from simulator.storm.groups import WITHOUT_HEARTBEAT, Group, group_of

# The newest versions in the artifact repository during a storm: those that the policies' support tables describe.
NEWEST = {OMS_HANDLER: "1.3"}

_POLICIES = ROOT / "samples" / "policies"
# The policies and entries that every storm has, and those that one with five extensions has besides.
STORM, MORE = _POLICIES / "storm", _POLICIES / "storm-extensions"
# The protected settings of their entries, by app setting: new in every run, so that a search finds none by chance.
SECRETS = {name: secrets.token_urlsafe(32) for name in ("INVENTORY_TOKEN", "SHIPPER_KEY", "ASSETS_PASSWORD")}

_MONITOR = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-monitor/providers"
_IDENTITIES = f"{_MONITOR}/Microsoft.ManagedIdentity/userAssignedIdentities"
_RULES = f"{_MONITOR}/Microsoft.Insights/dataCollectionRules"
WORKSPACE = f"{_MONITOR}/Microsoft.OperationalInsights/workspaces/logs"
# The one is for both systems, the other for Linux alone.
RULE, LINUX_RULE = f"{_RULES}/dcr-all", f"{_RULES}/dcr-linux"
IDENTITY = f"{_IDENTITIES}/id-ama"
# Identities of somebody else, whose applications name them.
THEIRS = tuple(f"{_IDENTITIES}/id-app-{number}" for number in range(1, 4))
# The workspace in which the policies look for heartbeats.
WORKSPACE_ID = "0b5e4a52-0000-4000-8000-0000000000b2"
# In this subscription the policy adds its identity beside others, so an application that names none may lose its token;
# and all its machines get the rule for Linux, so the agent of one with Windows sends nothing.
BESIDE = WITHOUT_HEARTBEAT
_OPEN = {False: "policy:new-agent", True: "policy:new-agent-beside"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a policy wants: the extension's catalogue name, its name on the VM, its handler."""

    extension: str
    resource: str = ""
    handler: str = ""


OMS = Target("oms-agent-linux", "OMSExtension", OMS_HANDLER)
AMA = Target("azure-monitor-agent-linux", "AzureMonitorLinuxAgent", LINUX_AGENT)
AMA_WINDOWS = Target("azure-monitor-agent-windows", "AzureMonitorWindowsAgent", WINDOWS_AGENT)
INVENTORY = Target("inventory-agent", "InventoryAgent", "Contoso.Inventory.InventoryAgentLinux")
PLUGIN = Target("inventory-plugin", "InventoryPlugin", "Contoso.Inventory.InventoryPluginLinux")
SHIPPER = Target("log-shipper", "LogShipper", "Contoso.Logs.LogShipperLinux")
ASSETS = Target("asset-reporter", "AssetReporter", "Contoso.Assets.AssetReporterWindows")
AGENTS = (AMA, AMA_WINDOWS)
# The policy folders' own extensions, by the number of extensions that a Linux VM which migrates has a row for.
OWN = {3: (INVENTORY,), 5: (INVENTORY, PLUGIN, SHIPPER, ASSETS)}
NEEDS = {PLUGIN: INVENTORY}
"""The one that another needs on the VM before it is requested."""
TARGETS = (OMS, *AGENTS, *OWN[5])


def copy_policies(folder: Path) -> Path:
    """Copy the policies and entries of a storm with five extensions into a new folder; returns that folder."""
    for source in (STORM, MORE):
        shutil.copytree(source, folder, dirs_exist_ok=True)
    return folder


def rule_of(subscription: str) -> str:
    """The data collection rule that the machines of a subscription are to have."""
    return LINUX_RULE if subscription == BESIDE else RULE


def wanted(member: Member, *, steps: bool = True, extensions: int = 3) -> Sequence[Target]:
    """What the VM has a row for; `extensions` is a key of `OWN`. Without `steps`, the policies are those of a version
    that knows extensions alone."""
    return (OMS, AMA) if not steps else (OMS, *_agents(member.spec), *OWN[extensions])


def expected(member: Member, target: Target) -> Expectation:
    """The expected outcome of that target on that VM. The fleet names that of an OMS agent that is to be installed; the
    others follow from it."""
    spec, of_oms = member.spec, member.expected
    if of_oms.outcome == "Gone" or (of_oms.outcome == "OutOfScope" and not _is_windows(spec)):
        return of_oms
    if _is_of_another_group(group_of(spec), target):
        return Expectation("OutOfScope")
    if target is OMS:
        return _removed(member) if group_of(spec) is Group.MIGRATING else of_oms
    if target.extension == _OPEN[spec.subscription != BESIDE]:
        return Expectation("OutOfScope")
    if target in OWN[5]:
        return _expected_of_own(member, target)
    if _is_windows(spec) and target is not AMA_WINDOWS:
        return Expectation("OutOfScope")
    if of_oms.outcome == "Undetermined":
        return of_oms
    if not _release(target).installs_on(*_system(spec)):
        return Expectation("Unsupported")
    return Expectation("Installed") if spec.allow_extension_operations else of_oms


def _expected_of_own(member: Member, target: Target) -> Expectation:
    """Their entries have no support tables, so only the kind of system counts; and one waits for ever where the one
    that it needs has failed."""
    spec, needed = member.spec, NEEDS.get(target)
    if _is_mute(spec):
        return Expectation("Undetermined")
    if _is_windows(spec) is not (target is ASSETS):
        return Expectation("OutOfScope")
    if not spec.allow_extension_operations:
        return member.expected
    if spec.runs and spec.runs_of == target.handler:
        return Expectation("Failed", str(spec.runs[-1].exit_code))
    if needed is not None and expected(member, needed).outcome == "Failed":
        return Expectation("Waiting")
    return Expectation("Installed")


def _is_of_another_group(group: Group, target: Target) -> bool:
    if target in OWN[5]:
        return False
    return group is (Group.NEW if target is OMS else Group.OLD)


def _removed(member: Member) -> Expectation:
    """The old agent goes where the new one comes; elsewhere it stays, and its removal waits for ever."""
    comes = any(expected(member, agent).outcome == "Installed" for agent in _agents(member.spec))
    return Expectation("Removed" if comes else "Waiting")


def _agents(spec: VmSpec) -> Sequence[Target]:
    """The Azure Monitor Agent's target: of the VM's system, or of each policy where nobody says the system. Where no
    policy wants the agent, the rows of a VM whose system is said late stay those of the policies."""
    each = tuple(Target(_OPEN[beside]) for beside in sorted(_OPEN))
    known = AMA_WINDOWS if _is_windows(spec) else AMA
    if _is_mute(spec):
        return each
    return (known, *each) if not spec.os_type and group_of(spec) is Group.OLD else (known,)


def _is_windows(spec: VmSpec) -> bool:
    return spec.guest.os_name.lower().startswith("windows")


def _is_mute(spec: VmSpec) -> bool:
    """Whether neither the body nor the guest agent says the system."""
    return not spec.os_type and spec.guest.agent is Agent.NAMELESS


def _system(spec: VmSpec) -> tuple[str, str, str]:
    return spec.guest.os_name, spec.guest.os_version, spec.guest.architecture


def _release(target: Target) -> Release:
    handler = _handler(target)
    release = _ARTIFACTS.resolve(handler, handler.releases[0].version, auto_upgrade=True)
    if release is None:
        raise LookupError(f"{target.handler} has no release in handlers.yaml that a storm may install")
    return release


def _handler(target: Target) -> Handler:
    publisher, _, type_ = target.handler.rpartition(".")
    handler = _ARTIFACTS.find(publisher, type_)
    if handler is None:
        raise LookupError(f"{target.handler} is not in handlers.yaml")
    return handler


_ARTIFACTS = Artifacts(NEWEST)
