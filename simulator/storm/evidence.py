"""What the simulator knows of a VM's agents in a storm: what ARM could prove of each, and whether the data of the Azure
Monitor Agent flows, which ARM cannot prove.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from simulator.arm import ArmSimulator, Machine
from simulator.arm.insights.data_flow import Obstacle, identity_of_agent
from simulator.demo.ledger import Row
from simulator.roles import assign_heartbeat_role
from simulator.storm.groups import WITHOUT_HEARTBEAT
from simulator.storm.targets import (
    AGENTS,
    AMA,
    BESIDE,
    IDENTITY,
    LINUX_RULE,
    NEEDS,
    OMS,
    RULE,
    TARGETS,
    THEIRS,
    WORKSPACE,
    WORKSPACE_ID,
    rule_of,
)

DONE = ("Installed", "AlreadyInstalled")
_REMOVED = "Removed"


def prepare(arm: ArmSimulator) -> None:
    """Create the identities, the rules and the workspace that the policies and the applications name."""
    arm.insights.workspaces.add(WORKSPACE, WORKSPACE_ID)
    assign_heartbeat_role(arm, WORKSPACE)
    arm.identities.add_all((IDENTITY, *THEIRS))
    arm.insights.resources.add_rule(RULE, workspace=WORKSPACE)
    arm.insights.resources.add_rule(LINUX_RULE, kind="Linux", workspace=WORKSPACE)


def lacking(arm: ArmSimulator, rows: Iterable[Row], *, steps: bool = True) -> dict[tuple[str, str], list[str]]:
    """By VM and extension, for each row that says it is installed: what the VM lacks of all that ARM can prove; and for
    each that says it was removed, the absence that it lacks. Without `steps`, the policies want extensions alone."""
    handlers = {target.extension: target.handler for target in TARGETS}
    agents = {target.extension for target in AGENTS} if steps else set()
    return {
        (row.vm, row.extension): _present(machine, handlers[row.extension])
        if row.outcome == _REMOVED
        else _lacking(arm, machine, handlers[row.extension], whole=row.extension in agents)
        for row in rows
        if row.outcome in (*DONE, _REMOVED) and row.extension in handlers
        if (machine := arm.machines.find(row.vm)) is not None
    }


def unproved(arm: ArmSimulator, rows: Iterable[Row]) -> set[str]:
    """The VMs, by id in lower case, whose new agent cannot be proved: its row does not say that it is installed, or it
    sends nothing where a heartbeat is the proof. The old agent's removal waits for it there."""
    rows = [*rows]
    installed = {row.vm for row in rows if row.extension == AMA.extension and row.outcome in DONE}
    return {
        row.vm
        for row in rows
        if row.extension == OMS.extension and arm.machines.find(row.vm) is not None
        if row.vm not in installed or (WITHOUT_HEARTBEAT not in row.vm and not arm.data_flows(row.vm).flows)
    }


def unmet(arm: ArmSimulator, rows: Iterable[Row]) -> set[tuple[str, str]]:
    """VM and name of each extension that may wait for ever: the row of the one that it needs has failed, and ARM does
    not show that one as succeeded either."""
    failed = {(row.vm, row.extension) for row in rows if row.outcome == "Failed"}
    return {
        (vm, target.extension)
        for target, needed in NEEDS.items()
        for vm, extension in failed
        if extension == needed.extension
        and (machine := arm.machines.find(vm)) is not None
        and _lacking(arm, machine, needed.handler, whole=False)
    }


def silent(arm: ArmSimulator, rows: Iterable[Row]) -> Counter[str]:
    """How many installed Azure Monitor Agents send nothing, by reason."""
    agents = {target.extension for target in AGENTS}
    installed = (row.vm for row in rows if row.outcome in DONE and row.extension in agents)
    return Counter(
        flow.reason for vm in installed if arm.machines.find(vm) is not None and not (flow := arm.data_flows(vm)).flows
    )


def _present(machine: Machine, handler: str) -> list[str]:
    return [] if machine.find_handler(handler, other_than="") is None else ["its absence"]


def _lacking(arm: ArmSimulator, machine: Machine, handler: str, *, whole: bool) -> list[str]:
    agent = machine.find_handler(handler, other_than="")
    succeeded = agent is not None and agent.provisioning_state == "Succeeded"
    facts = {"an extension that succeeded": succeeded}
    if whole:
        identity = Obstacle.NO_AGENT if agent is None else identity_of_agent(machine, agent)
        ours = machine.subscription != BESIDE or identity == IDENTITY.lower()
        rules = [
            rule for rule in arm.insights.associations.rules_of(machine) if rule.id == rule_of(machine.subscription)
        ]
        targets = [each for rule in rules for each in rule.properties["destinations"]["logAnalytics"]]
        facts["an identity that its settings name"] = not isinstance(identity, Obstacle) and ours
        facts["an association"] = bool(rules)
        facts["a rule that sends to the workspace"] = WORKSPACE in [each["workspaceResourceId"] for each in targets]
    return [name for name, there in facts.items() if not there]
