"""The three groups of a storm's machines: those that get the OMS agent, those that get the Azure Monitor Agent, and
those that migrate from the one to the other. A tag on each machine says which; the storm's policies select by it. A
machine without the tag gets both agents.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import replace
from enum import StrEnum

from simulator.arm import ExtensionSpec, VmSpec
from simulator.arm.options import OMS_HANDLER
from simulator.demo.fleet import Member

TAG = "agents"
OLD_WORKSPACE = "0b5e4a52-0000-4000-8000-0000000000a1"
"""The workspace that the OMS agents of migrating machines send to."""

# The subscription in which the old agent goes once ARM shows the new one; in the other one it waits for a heartbeat.
WITHOUT_HEARTBEAT = "00000000-0000-4000-8000-000000000002"
_KEY = "b2xkLXdvcmtzcGFjZS1rZXk="  # of that workspace; invented
_PUBLISHER, _, _TYPE = OMS_HANDLER.rpartition(".")


class Group(StrEnum):
    """What the policies want on a machine. BOTH is for policies of a version that removes nothing."""

    OLD = "old"
    NEW = "new"
    MIGRATING = "migrating"
    BOTH = ""


def group_of(spec: VmSpec) -> Group:
    return Group(spec.tags.get(TAG, ""))


def grouped(fleet: Sequence[Member], seed: int, migrating: float) -> tuple[Member, ...]:
    """The fleet in its three groups, by chance. `migrating` is the share of those that migrate, as far as there are
    machines that can; the others are half and half."""
    chance = random.Random(f"{seed}|groups")
    able = [member.id for member in fleet if _can_migrate(member.spec)]
    migrate = frozenset(chance.sample(able, min(len(able), round(len(fleet) * migrating))))
    others = (Group.OLD, Group.NEW)
    return tuple(
        _with_old_agent(member) if member.id in migrate else _tagged(member, chance.choice(others)) for member in fleet
    )


def _can_migrate(spec: VmSpec) -> bool:
    """Whether the machine can have the OMS agent that the policies remove, which is for Linux."""
    return not spec.guest.os_name.lower().startswith("windows")


def old_agent(name: str = "OmsAgentForLinux") -> ExtensionSpec:
    """An OMS agent that sends, under another name than the product gives it."""
    return ExtensionSpec(
        name=name,
        publisher=_PUBLISHER,
        type=_TYPE,
        version="1.3",
        settings={"workspaceId": OLD_WORKSPACE},
        protected_settings={"workspaceKey": _KEY},
    )


def _with_old_agent(member: Member) -> Member:
    migrating = _tagged(member, Group.MIGRATING)
    names = [each.name for each in member.spec.extensions if each.type == _TYPE]
    others = tuple(each for each in member.spec.extensions if each.type != _TYPE)
    return replace(migrating, spec=replace(migrating.spec, extensions=(*others, old_agent(*names))))


def _tagged(member: Member, group: Group) -> Member:
    return replace(member, spec=replace(member.spec, tags={**member.spec.tags, TAG: group.value}))
