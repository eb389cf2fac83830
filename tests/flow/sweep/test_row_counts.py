"""What the sweep keeps of the rows that it reads: totals of each subscription, index rows, and since when a policy
selects as it does."""

from __future__ import annotations

from copy import replace
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.sweep.sweep_queue import SweepFilter
from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy.policy_version import PolicyState, seen
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.policy_digest import parts
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.row_totals import RowKind, Totals
from onboarding.domain.resource_id import VmId
from tests.flow.world import BIONIC, OMS, POLICY, START, SUBSCRIPTION, World, vm_body
from tests.reference import parse_policy

OTHER = "21112222-3333-4444-5555-666677778888"
HOUR = timedelta(hours=1)
SCOPED = {**POLICY, "scope": [f"/subscriptions/{SUBSCRIPTION}"]}


async def onboarded(world: World) -> None:
    """Two VMs with a final row each in the policy's subscription, and one in a subscription that no policy names."""
    for name, image in (("web01", BIONIC), ("web02", BIONIC)):
        await world.created(world.add(name, image=image))
    vm = VmId(OTHER, "app-rg", "left")
    world.arm.machines[vm.key] = {**vm_body("left", image=BIONIC), "id": str(vm)}
    other = World(policies=[POLICY], ledger=world.ledger, arm=world.arm, now=world.now)
    await other.created(vm)
    world.now += HOUR


def totals_of(world: World, subscription: str) -> list[Totals]:
    return [totals for (owner, _), totals in sorted(world.ledger.days.items()) if owner == subscription]


async def test_the_sweep_counts_the_rows_of_each_subscription_once_an_hour() -> None:
    world = World(policies=[SCOPED])
    await onboarded(world)
    await world.sweep.run()
    kind = RowKind(POLICY["name"], OMS, Outcome.UNSUPPORTED, "", "")
    (first,) = totals_of(world, SUBSCRIPTION)
    assert (first.at, first.counts) == (world.now, {kind: 2})

    await world.created(world.add("web03", image=BIONIC))
    for minutes in (50, 10):
        world.now += timedelta(minutes=minutes)
        await world.sweep.run()
        (latest,) = totals_of(world, SUBSCRIPTION)
        assert (latest.at, latest.counts) == ((first.at, {kind: 2}) if minutes == 50 else (world.now, {kind: 3}))


async def test_a_sweep_by_hand_counts_at_once() -> None:
    world = World(policies=[SCOPED])
    await onboarded(world)
    await world.sweep.run()
    await world.created(world.add("web03", image=BIONIC))
    world.now += timedelta(minutes=1)
    await world.sweep.run(SweepFilter(count=True))
    (totals,) = totals_of(world, SUBSCRIPTION)
    assert (totals.at, sum((totals.counts or {}).values())) == (world.now, 3)


async def test_every_day_keeps_its_last_totals() -> None:
    world = World(policies=[SCOPED])
    await onboarded(world)
    for _ in range(3 * 24):
        await world.sweep.run()
        world.now += HOUR
    days = totals_of(world, SUBSCRIPTION)
    assert [each.day.day for each in days] == [20, 21, 22, 23]
    assert [each.at.hour for each in days[:3]] == [23, 23, 23]


async def test_index_rows_are_renewed_within_a_day_also_where_no_policy_names_the_subscription() -> None:
    world = World(policies=[SCOPED])
    await onboarded(world)
    await world.sweep.run()
    assert sorted(world.ledger.indexed) == [SUBSCRIPTION, OTHER]
    for _ in range(6 * 48):
        last = {each: totals_of(world, each)[-1].indexed_at for each in (SUBSCRIPTION, OTHER)}
        assert all(at and world.now - at <= timedelta(hours=24, minutes=10) for at in last.values())
        world.now += timedelta(minutes=10)
        await world.sweep.run()
    assert world.ledger.indexed.count(SUBSCRIPTION) == 1 + 4
    assert world.ledger.indexed.count(OTHER) == 1 + 2
    assert totals_of(world, OTHER)


async def test_a_dry_run_counts_and_writes_nothing() -> None:
    world = World(policies=[SCOPED])
    await onboarded(world)
    await world.sweep.run(SweepFilter(dry_run=True))
    assert (world.ledger.days, world.ledger.indexed) == ({}, [])


async def test_a_subscription_without_rows_gets_no_totals_until_it_had_some() -> None:
    world = World(policies=[SCOPED])
    await world.sweep.run()
    assert world.ledger.days == {}
    await world.ledger.write_totals(Totals(SUBSCRIPTION, world.now - HOUR, {}, world.now))
    await world.sweep.run()
    (totals,) = totals_of(world, SUBSCRIPTION)
    assert (totals.at, totals.counts) == (world.now, {})


def policy(**changes: Any) -> Policy:
    return parse_policy({**POLICY, **changes}, "p.yaml", compile_rule)


@pytest.mark.parametrize(
    ("changes", "selects_otherwise"),
    [
        ({"settings": {}}, False),
        ({"effect": "DeployIfNotExists"}, False),
        ({"settleDelay": "1h"}, False),
        ({"effect": "auditIfNotExists"}, True),
        ({"scope": [f"/subscriptions/{OTHER}"]}, True),
        ({"notScopes": [f"/subscriptions/{OTHER}"]}, True),
        ({"rule": {"field": "location", "equals": "westeurope"}}, True),
        ({"parameters": {"tag": "x"}}, True),
        ({"includeManaged": True}, True),
        ({"existing": "enforce"}, False),
    ],
)
def test_a_selection_changes_with_scope_rule_and_effect(changes: dict[str, Any], selects_otherwise: bool) -> None:
    assert (policy(**changes).selection_digest != policy().selection_digest) is selects_otherwise


async def test_a_selection_that_comes_back_keeps_the_time_at_which_it_was_first_seen() -> None:
    audits = {**POLICY, "effect": "auditIfNotExists"}
    states = World().policy_states
    first, second = policy().selection_digest, policy(effect="auditIfNotExists").selection_digest
    for hours, raw in enumerate((POLICY, audits, POLICY)):
        world = World(policies=[raw], now=START + hours * HOUR, policy_states=states)
        await world.sweep.run()
    (state,) = states.stored.values()
    assert state.first_seen == {first: START, second: START + HOUR}
    assert state.since == START + 2 * HOUR


async def test_a_policy_of_the_version_before_gets_its_first_time_and_keeps_the_rest() -> None:
    world = World()
    before = PolicyState(POLICY["name"], policy().digest, START - HOUR)
    world.policy_states.stored = {before.policy: before}
    await world.sweep.run()
    (state,) = world.policy_states.stored.values()
    assert parts(state.digest)[0] == before.digest
    assert replace(state, digest="") == PolicyState(before.policy, "", before.since, {policy().selection_digest: START})


def test_only_so_many_selections_of_a_policy_are_kept_the_latest_of_them() -> None:
    state = PolicyState(POLICY["name"], "digest", None, {f"{hour}": START + hour * HOUR for hour in range(100)})
    kept = seen(policy(), state, START + 100 * HOUR).first_seen
    assert len(kept) == 100
    assert set(kept) == {*(f"{hour}" for hour in range(1, 100)), policy().selection_digest}
