"""The fleet of a storm: the demo's, VMs with Windows, and VMs of which only the guest agent knows the system. All have
applications that get tokens, and of some the network is blocked, so that their Azure Monitor Agent sends nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from copy import replace
from math import ceil
from typing import Any

from simulator.arm import Agent, Application, Guest, VmSpec
from simulator.demo.fleet import Expectation, Member, Story, make_fleet
from simulator.storm.targets import AMA, BESIDE, THEIRS, expected

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
_BLOCKED = 0.06  # the share of the fleet whose network is blocked

# A locked package manager is locked for both agents; the third extension needs none.
_LOCKED, _AGENTS = 55, "Microsoft.*"


def make_storm_fleet(size: int, seed: int, subscriptions: Sequence[str]) -> tuple[Member, ...]:
    """A fleet of that size, in the order in which its VMs are created."""
    chance = random.Random(f"{seed}|storm-fleet")
    more = [_member(number, chance.choice(subscriptions)) for number in range(max(len(_KINDS), size // _EVERY))]
    members = [*make_fleet(size - len(more), seed, subscriptions, crowded=subscriptions[0]), *more]
    chance.shuffle(members)
    return _with_blocked_networks(tuple(map(_prepared, members)))


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
    agents = [member.id for member in fleet if expected(member, AMA).outcome == "Installed"]
    blocked = set(agents[: ceil(len(fleet) * _BLOCKED)])
    return tuple(
        replace(member, spec=replace(member.spec, network_blocked=True)) if member.id in blocked else member
        for member in fleet
    )
