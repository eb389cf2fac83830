"""What the storm's policies want, two extensions, and for the second an identity and a rule; and the outcome that each
VM must have for each extension.

The outcomes follow from the fleet's own description and from the handlers of the simulated artifact repository. No code
of the product is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import replace
from dataclasses import dataclass

from simulator.arm import Application, ArmSimulator, VmSpec
from simulator.arm.compute.artifacts import Artifacts, Handler, Release
from simulator.arm.options import AMA_HANDLER, OMS_HANDLER
from simulator.demo.fleet import Expectation, Member

# The newest versions in the artifact repository during a storm: those that the storm's support tables describe.
NEWEST = {OMS_HANDLER: "1.3", AMA_HANDLER: "1.40"}

_MONITOR = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-monitor/providers"
_IDENTITIES = f"{_MONITOR}/Microsoft.ManagedIdentity/userAssignedIdentities"
RULE = f"{_MONITOR}/Microsoft.Insights/dataCollectionRules/dcr-linux"
IDENTITY = f"{_IDENTITIES}/id-ama"
# Identities of somebody else, whose applications name them.
THEIRS = tuple(f"{_IDENTITIES}/id-app-{number}" for number in range(1, 4))
# In this subscription the policy adds its identity beside others, so an application that names none may lose its token.
BESIDE = "00000000-0000-4000-8000-000000000002"

# Outcomes of the VM itself, the same for every extension.
_OF_THE_VM = ("OutOfScope", "Undetermined", "Gone")
# A locked package manager is locked for every handler.
_LOCKED = 55


@dataclass(frozen=True, slots=True)
class Target:
    """One extension that a policy wants: its catalogue entry, its name on the VM, its handler."""

    extension: str
    resource: str
    handler: str


OMS = Target("oms-agent-linux", "OMSExtension", OMS_HANDLER)
AMA = Target("azure-monitor-agent-linux", "AzureMonitorLinuxAgent", AMA_HANDLER)
TARGETS = (OMS, AMA)


def prepare(arm: ArmSimulator) -> None:
    """Create the identities and the rule that the policies and the applications name."""
    arm.identities.add_all((IDENTITY, *THEIRS))
    arm.insights.resources.add_rule(RULE, kind="Linux")


def for_both(fleet: Iterable[Member]) -> tuple[Member, ...]:
    """The demo's fleet for two extensions: a VM with a locked package manager has it for both, and all VMs have
    applications that get tokens."""
    return tuple(
        replace(
            member,
            spec=replace(
                member.spec,
                runs_of="*" if any(run.exit_code == _LOCKED for run in member.spec.runs) else member.spec.runs_of,
                applications=_applications(member.spec.subscription),
            ),
        )
        for member in fleet
    )


def expected(member: Member, target: Target) -> Expectation:
    """The expected outcome of that extension on that VM. The fleet names the first; the second follows from it."""
    if target is OMS or member.expected.outcome in _OF_THE_VM:
        return member.expected
    if not _release(target).installs_on(*_system(member.spec)):
        return Expectation("Unsupported")
    if not member.spec.allow_extension_operations:
        return member.expected
    return Expectation("Installed")


def missing(arm: ArmSimulator, vm: str, *, steps: bool) -> list[str]:
    """What the VM lacks of all that the second extension's policy wants there, as far as ARM can prove it. Without
    `steps`, that is the extension alone."""
    machine = arm.machines[vm]
    agent = machine.find_handler(AMA.handler, other_than="")
    held = machine.identity.held()
    facts = {"an extension that succeeded": agent is not None and agent.provisioning_state == "Succeeded"}
    if steps:
        facts["an identity that serves"] = IDENTITY.lower() in held if machine.subscription == BESIDE else bool(held)
        facts["an association"] = RULE in [rule.id for rule in arm.insights.associations.rules_of(machine)]
    return [name for name, there in facts.items() if not there]


def _applications(subscription: str) -> tuple[Application, ...]:
    named = tuple(Application(identity.rpartition("/")[2], identity) for identity in THEIRS)
    return named if subscription == BESIDE else (Application("unnamed"), *named)


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
