"""The fleet of a storm: the demo's, VMs with Windows, and VMs of which only the guest agent knows the system. All have
applications that get tokens. Of some the network is blocked, or lets the old agent's data through alone, so that their
Azure Monitor Agent sends nothing. Where policies want five extensions, one that another needs fails on some.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from copy import replace
from math import ceil
from typing import Any

from simulator.arm import Agent, Application, Guest, HandlerRun, VmSpec
from simulator.arm.compute.spec import UBUNTU_1604
from simulator.demo.fleet import Expectation, Member, Story, make_fleet
from simulator.storm.groups import Group, group_of, grouped
from simulator.storm.targets import AMA, BESIDE, INVENTORY, SECRETS, THEIRS, expected

_GROUP = "rg-storm"
_SERVER = {
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2022-datacenter-azure-edition",
    "version": "latest",
}
_WINDOWS = Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1")
_LINUX = Guest(os_name="ubuntu", os_version="16.04")
_UNSAID: Mapping[str, Any] = {"image": None, "os_type": ""}
_OUT_OF_SCOPE = Expectation("OutOfScope")

# Kind, specification, and the outcome that the OMS agent has there.
_KINDS: Sequence[tuple[str, Mapping[str, Any], Expectation]] = (
    ("server", {"image": _SERVER, "os_type": "Windows", "guest": _WINDOWS}, _OUT_OF_SCOPE),
    ("unsaid", {**_UNSAID, "guest": _LINUX}, Expectation("Installed")),
    ("unsaid-server", {**_UNSAID, "guest": _WINDOWS}, _OUT_OF_SCOPE),
    ("unsaid-mute", {**_UNSAID, "guest": replace(_LINUX, agent=Agent.NAMELESS)}, Expectation("Undetermined")),
)
_EVERY = 8  # of the fleet, one in so many is of these kinds
_UNSUPPORTED = 0.2  # of the machines for the new agent whose system it does not support, the share that keeps it
_BLOCKED = 0.06  # the share of the fleet whose network is blocked
_FAILING = 0.06  # the share of the fleet on which the extension that another needs fails, as far as nothing else does
MIGRATING = 0.33
"""The usual share of the VMs that migrate."""

# A locked package manager is locked for both agents; the third extension needs none.
_LOCKED, _AGENTS = 55, "Microsoft.*"
# A handler that quotes its secret when it fails.
_REFUSED = HandlerRun(
    exit_code=7, operation="Enable", text=f"The server refused the token {SECRETS['INVENTORY_TOKEN']}"
)


def make_storm_fleet(
    size: int, seed: int, subscriptions: Sequence[str], migrating: float | None = MIGRATING, extensions: int = 3
) -> tuple[Member, ...]:
    """A fleet of that size, in the order in which its VMs are created. `migrating` is the share of those that migrate
    from the OMS agent to the Azure Monitor Agent; None: the fleet has no groups, for policies that know none.
    `extensions` is the number of extensions that the policies want (`OWN`)."""
    chance = random.Random(f"{seed}|storm-fleet")
    more = [_member(number, chance.choice(subscriptions)) for number in range(max(len(_KINDS), size // _EVERY))]
    members = [*make_fleet(size - len(more), seed, subscriptions, crowded=subscriptions[0]), *more]
    chance.shuffle(members)
    fleet = tuple(map(_prepared, members))
    if migrating is not None:
        fleet = tuple(_supported(member, chance) for member in grouped(fleet, seed, migrating))
    fleet = _with_blocked_networks(fleet)
    return fleet if extensions == 3 else _with_failing_agents(fleet)


def _supported(member: Member, chance: random.Random) -> Member:
    """Most machines for the new agent have a system that it supports, or few would migrate."""
    unsupported = group_of(member.spec) is not Group.OLD and expected(member, AMA).outcome == "Unsupported"
    if not unsupported or chance.random() < _UNSUPPORTED:
        return member
    guest = replace(member.spec.guest, os_name="ubuntu", os_version="16.04")
    return replace(member, spec=replace(member.spec, image=UBUNTU_1604, guest=guest))


def _member(number: int, subscription: str) -> Member:
    kind, spec, must = _KINDS[number % len(_KINDS)]
    name = f"{kind}-{number // len(_KINDS) + 1:02}"
    return Member(kind, VmSpec(name=name, group=_GROUP, subscription=subscription, **spec), Story.NONE, must)


def _prepared(member: Member) -> Member:
    spec = member.spec
    locked = any(run.exit_code == _LOCKED for run in spec.runs)
    applications = _applications(spec.subscription)
    return replace(member, spec=replace(spec, runs_of=_AGENTS if locked else spec.runs_of, applications=applications))


def _applications(subscription: str) -> tuple[Application, ...]:
    """In one subscription some name no identity; in the other, where the policy adds one beside others, all do."""
    named = tuple(Application(identity.rpartition("/")[2], identity) for identity in THEIRS)
    return named if subscription == BESIDE else (Application("unnamed"), *named)


def _with_blocked_networks(fleet: Sequence[Member]) -> tuple[Member, ...]:
    """Of VMs that migrate, the network lets the old agent's data through; of others, nothing."""
    agents = [member for member in fleet if expected(member, AMA).outcome == "Installed"]
    blocked = _some(agents, ceil(len(fleet) * _BLOCKED))
    return tuple(_blocked(member) if member.id in blocked else member for member in fleet)


def _with_failing_agents(fleet: Sequence[Member]) -> tuple[Member, ...]:
    plain = [
        member
        for member in fleet
        if expected(member, INVENTORY).outcome == "Installed" and member.story is Story.NONE and not member.spec.runs
    ]
    failing = _some(plain, ceil(len(fleet) * _FAILING))
    return tuple(
        replace(member, spec=replace(member.spec, runs=(_REFUSED,), runs_of=INVENTORY.handler))
        if member.id in failing
        else member
        for member in fleet
    )


def _some(members: Sequence[Member], most: int) -> set[str]:
    """That many VMs, if there are so many: some of each group and scope."""
    ordered = sorted(members, key=lambda member: (group_of(member.spec), member.spec.subscription))
    count = min(len(ordered), most)
    return {ordered[number * len(ordered) // count].id for number in range(count)}


def _blocked(member: Member) -> Member:
    migrating = group_of(member.spec) is Group.MIGRATING
    return replace(member, spec=replace(member.spec, network_blocked=not migrating, old_endpoints_only=migrating))
