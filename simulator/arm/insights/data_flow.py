"""Whether the Azure Monitor Agent of a machine sends data: what ARM cannot tell, and the simulator knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.spec import Power
from simulator.arm.identity.machine_identity import SYSTEM
from simulator.arm.insights.agent_settings import (
    LINUX_AGENT,
    OMS_AGENT,
    WINDOWS_AGENT,
    WINDOWS_OMS_AGENT,
    named_identity,
)
from simulator.arm.insights.rules import CollectionResource


class Obstacle(StrEnum):
    """Why no data flows; the first of them in this order."""

    NOT_RUNNING = "the machine does not run"
    NO_AGENT = "no agent is installed"
    AGENT_FAILED = "the agent's extension has never succeeded, or the agent was purged"
    NO_IDENTITY = "the machine has no identity"
    AMBIGUOUS = "the machine has several user-assigned identities, and the settings name none"
    OTHER_IDENTITY = "the settings name an identity that the machine does not have"
    DELETED_IDENTITY = "the identity has been deleted"
    LATE_IDENTITY = "the agent started before it had its identity; restart it"
    NO_RULE = "no data collection rule is associated"
    OTHER_SYSTEM = "the associated rules are for another operating system"
    NETWORK = "the network is blocked"


@dataclass(frozen=True, slots=True)
class DataFlow:
    """Whether data flows; `reason` is empty if it does."""

    flows: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AgentSurroundings:
    """What the flow depends on besides the machine: its rules, whether an identity still exists, and whether an agent
    notices an identity that comes later."""

    rules: Sequence[CollectionResource]
    alive: frozenset[str]
    notices_late_identity: bool


def data_flow(machine: Machine, surroundings: AgentSurroundings) -> DataFlow:
    obstacle = _of_agent(machine, surroundings) or _of_rules(machine, surroundings.rules)
    if obstacle is None and (machine.network_blocked or machine.old_endpoints_only):
        obstacle = Obstacle.NETWORK
    return DataFlow(flows=obstacle is None, reason=obstacle or "")


def old_agent_workspace(machine: Machine) -> str:
    """The GUID of the workspace that the machine's OMS agent sends to; empty if it sends nothing."""
    if machine.power is not Power.RUNNING or machine.network_blocked:
        return ""
    agent = machine.find_handler(WINDOWS_OMS_AGENT if machine.os_type == "Windows" else OMS_AGENT, other_than="")
    if agent is None or not agent.serves:
        return ""
    return str((agent.properties.get("settings") or {}).get("workspaceId", "")).lower()


def _of_agent(machine: Machine, surroundings: AgentSurroundings) -> Obstacle | None:
    if machine.power is not Power.RUNNING:
        return Obstacle.NOT_RUNNING
    handler = WINDOWS_AGENT if machine.os_type == "Windows" else LINUX_AGENT
    agent = machine.find_handler(handler, other_than="")
    if agent is None:
        return Obstacle.NO_AGENT
    if not agent.serves:
        return Obstacle.AGENT_FAILED
    found = identity_of_agent(machine, agent)
    if isinstance(found, Obstacle):
        return found
    if found != SYSTEM and found not in surroundings.alive:
        return Obstacle.DELETED_IDENTITY
    if not surroundings.notices_late_identity and _came_late(machine, agent, found):
        return Obstacle.LATE_IDENTITY
    return None


def _of_rules(machine: Machine, rules: Sequence[CollectionResource]) -> Obstacle | None:
    if not rules:
        return Obstacle.NO_RULE
    return None if any(rule.fits(machine.os_type) for rule in rules) else Obstacle.OTHER_SYSTEM


def identity_of_agent(machine: Machine, agent: Extension) -> str | Obstacle:
    """The identity that the agent uses: a folded id, or `system`. One that a write is still adding does not serve."""
    named = named_identity(agent.properties.get("settings") or {})
    identity = machine.identity
    users = {key: user for key, user in identity.users.items() if key not in machine.unsettled}
    system = identity.principal_id if SYSTEM not in machine.unsettled else ""
    if named is not None:
        value = named.value.lower()
        members = {"mi_res_id": "key", "client_id": "client_id", "object_id": "principal_id"}
        if named.name == "object_id" and value == system:
            return SYSTEM
        found = [key for key, user in users.items() if getattr(user, members[named.name]) == value]
        return found[0] if found else Obstacle.OTHER_IDENTITY
    if system:
        return SYSTEM
    if len(users) > 1:
        return Obstacle.AMBIGUOUS
    return next(iter(users), None) or Obstacle.NO_IDENTITY


def _came_late(machine: Machine, agent: Extension, identity: str) -> bool:
    """Whether the identity came after the agent's last start: the end of its handler's last run, or the last boot."""
    return machine.identity_since.get(identity, 0.0) > max(agent.ran_at, machine.booted_at)
