"""A storm's machines that migrate: the groups, those who undo what the product does, and whose fault a gap is."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulator.arm import ArmError, ArmSimulator, ExtensionSpec, Gap, Guest, Obstacle, Options, VmSpec
from simulator.clock import ManualClock
from simulator.demo.fleet import Expectation, Member, Story
from simulator.demo.ledger import Row
from simulator.laptop import SUBSCRIPTIONS
from simulator.storm.evidence import lacking, prepare, unproved
from simulator.storm.fleet import make_storm_fleet
from simulator.storm.gaps import SortedGaps, sort
from simulator.storm.groups import OLD_WORKSPACE, TAG, WITHOUT_HEARTBEAT, Group, group_of, old_agent
from simulator.storm.others import Others
from simulator.storm.storm import until_calm
from simulator.storm.targets import AMA, IDENTITY, INVENTORY, OMS, RULE, expected

HEARTBEAT = next(each for each in SUBSCRIPTIONS if each != WITHOUT_HEARTBEAT)
OURS, THEIRS = "us", "them"
REQUESTED = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
DELETE = "Microsoft.Compute/virtualMachines/extensions/delete"
ASSOCIATION = "Microsoft.Insights/dataCollectionRuleAssociations/delete"
MINUTE = timedelta(minutes=1)


def member(outcome: str = "Installed", group: Group = Group.MIGRATING, name: str = "web", **spec: Any) -> Member:
    return Member("web", VmSpec(name=name, tags={TAG: group}, **spec), Story.NONE, Expectation(outcome))


def gap(subscription: str, reason: str, **changes: Any) -> Gap:
    """One that our removal began a minute after the request."""
    vm = f"/subscriptions/{subscription}/resourcegroups/g/providers/microsoft.compute/virtualmachines/web"
    return Gap(
        **{
            "vm": vm,
            "began": REQUESTED + MINUTE,
            "principal": OURS,
            "operation": DELETE,
            "resource": vm,
            "reason": reason,
            **changes,
        }
    )


def sorted_gap(each: Gap, satisfied: datetime = REQUESTED - MINUTE) -> SortedGaps:
    return sort([each], OURS, {each.vm: [REQUESTED]}, {each.vm: satisfied})


def wrong(each: Gap, satisfied: datetime = REQUESTED - MINUTE) -> bool:
    found = sorted_gap(each, satisfied)
    return bool(found.wrong)


@pytest.mark.parametrize("reason", list(Obstacle))
def test_with_a_heartbeat_no_removal_of_ours_may_begin_a_gap(reason: Obstacle) -> None:
    assert wrong(gap(HEARTBEAT, reason))


@pytest.mark.parametrize("reason", list(Obstacle))
def test_without_one_it_may_where_arm_cannot_see_the_reason(reason: Obstacle) -> None:
    unseen = {Obstacle.NETWORK, Obstacle.OTHER_SYSTEM, Obstacle.LATE_IDENTITY}
    found = sorted_gap(gap(WITHOUT_HEARTBEAT, reason))
    assert found.unseen == ({reason: 1} if reason in unseen else {})
    assert bool(found.wrong) is (reason not in unseen)


def test_what_others_stop_after_the_proof_is_theirs() -> None:
    """What ARM shows is proved in the pass that sends the request; a heartbeat counts for longer."""
    shown, hidden = Obstacle.NO_RULE, Obstacle.LATE_IDENTITY
    by_them = {"silenced_by": THEIRS}
    for subscription in (HEARTBEAT, WITHOUT_HEARTBEAT):
        after = gap(subscription, shown, silenced_at=REQUESTED + MINUTE / 2, **by_them)
        assert sorted_gap(after) == SortedGaps(undone=1)
        assert wrong(gap(subscription, shown, silenced_at=REQUESTED - MINUTE / 2, **by_them))
    beaten = gap(HEARTBEAT, hidden, silenced_at=REQUESTED - MINUTE / 2, **by_them)
    assert sorted_gap(beaten) == SortedGaps(undone=1)
    assert wrong(beaten, satisfied=REQUESTED - MINUTE / 4), "no heartbeat came since it was satisfied"
    assert not wrong(beaten, satisfied=REQUESTED + MINUTE), "it was satisfied anew after the removal"


def test_an_association_removed_after_the_proof_is_theirs_also_where_the_agent_never_sent() -> None:
    """ARM could not see that the network was blocked; then somebody removed what ARM had shown."""
    hidden = {"reason_before": Obstacle.NETWORK, "silenced_at": None}
    after, before = REQUESTED + MINUTE / 2, REQUESTED - MINUTE / 2
    theirs = gap(WITHOUT_HEARTBEAT, Obstacle.NO_RULE, reason_since=after, **hidden)
    assert sorted_gap(theirs) == SortedGaps(undone=1)
    assert wrong(gap(WITHOUT_HEARTBEAT, Obstacle.NO_RULE, reason_since=before, **hidden)), "ARM showed it at the proof"
    assert wrong(gap(HEARTBEAT, Obstacle.NO_RULE, reason_since=after, **hidden)), "no heartbeat proved it"
    shown = {"reason_before": Obstacle.NO_IDENTITY, "reason_since": after}
    assert wrong(gap(WITHOUT_HEARTBEAT, Obstacle.NO_RULE, **shown)), "ARM showed the reason before, too"


def test_what_we_stop_is_ours() -> None:
    assert wrong(gap(WITHOUT_HEARTBEAT, Obstacle.NETWORK, silenced_at=REQUESTED + MINUTE, silenced_by=OURS))
    assert wrong(gap(WITHOUT_HEARTBEAT, Obstacle.NETWORK, operation="Microsoft.Compute/virtualMachines/write"))


def test_the_gaps_of_others_are_counted_by_what_they_did() -> None:
    found = sorted_gap(gap(HEARTBEAT, Obstacle.NO_RULE, principal=THEIRS, operation=ASSOCIATION))
    assert found == SortedGaps(by_others={ASSOCIATION: 1})
    assert sorted_gap(gap(HEARTBEAT, Obstacle.NETWORK, principal="", operation="")).by_others == {"unannounced": 1}


def test_on_each_group_the_others_agent_is_out_of_scope() -> None:
    guest = Guest(os_name="ubuntu", os_version="16.04")
    found = {
        group: [expected(member(group=group, guest=guest), target).outcome for target in (OMS, AMA, INVENTORY)]
        for group in Group
    }
    assert found == {
        Group.OLD: ["Installed", "OutOfScope", "Installed"],
        Group.NEW: ["OutOfScope", "Installed", "Installed"],
        Group.MIGRATING: ["Removed", "Installed", "Installed"],
        Group.BOTH: ["Installed", "Installed", "Installed"],
    }


@pytest.mark.parametrize(
    ("outcome", "spec", "must"),
    [
        ("Installed", {"guest": Guest(os_version="14.04")}, "Waiting"),
        ("Undetermined", {}, "Waiting"),
        ("Failed", {"allow_extension_operations": False}, "Waiting"),
        ("OutOfScope", {}, "OutOfScope"),
        ("Gone", {}, "Gone"),
    ],
)
def test_the_old_agent_stays_where_the_new_one_does_not_come(outcome: str, spec: dict[str, Any], must: str) -> None:
    assert expected(member(outcome, **spec), OMS).outcome == must


@pytest.mark.parametrize("size", [24, 60, 300])
@pytest.mark.parametrize("share", [0.0, 0.33, 1.0])
def test_the_fleet_has_its_groups_and_every_machine_that_migrates_an_agent_that_sends(size: int, share: float) -> None:
    fleet = make_storm_fleet(size, 1, tuple(SUBSCRIPTIONS), share)
    groups = Counter(group_of(each.spec) for each in fleet)
    able = sum(not each.spec.guest.os_name.lower().startswith("windows") for each in fleet)
    assert groups[Group.MIGRATING] == min(able, round(size * share))
    assert groups[Group.BOTH] == 0
    for each in fleet:
        agents = [a for a in each.spec.extensions if a.settings.get("workspaceId") == OLD_WORKSPACE]
        assert len(agents) == (group_of(each.spec) is Group.MIGRATING)
    if share:
        going = [each for each in fleet if expected(each, OMS).outcome == "Removed"]
        assert len(going) >= max(3, 0.5 * groups[Group.MIGRATING] if size > 24 else 0)
        assert any(each.spec.old_endpoints_only for each in fleet)


def test_a_fleet_for_policies_that_remove_nothing_has_no_groups() -> None:
    fleet = make_storm_fleet(60, 1, tuple(SUBSCRIPTIONS), None)
    assert {group_of(each.spec) for each in fleet} == {Group.BOTH}


@pytest.fixture
def arm() -> ArmSimulator:
    arm = ArmSimulator(ManualClock(), seed=1, options=Options(subscriptions=tuple(SUBSCRIPTIONS)))
    prepare(arm)
    return arm


def add(arm: ArmSimulator, name: str, subscription: str, *extensions: ExtensionSpec, **spec: Any) -> str:
    identity = {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    machine = arm.add_vm(VmSpec(name=name, subscription=subscription, identity=identity, extensions=extensions, **spec))
    arm.associate_as_other_deployer(machine.id, "ours", RULE)
    return machine.key


def of(vm: str, outcome: str, extension: str) -> Row:
    return Row({"RowKey": f"vm|g|x|{extension}", "ResourceId": vm, "Extension": extension, "Outcome": outcome})


def new_agent() -> ExtensionSpec:
    publisher, _, type_ = AMA.handler.rpartition(".")
    return ExtensionSpec(name=AMA.resource, publisher=publisher, type=type_, version="1.36")


async def test_a_row_that_says_removed_needs_an_extension_that_is_gone(arm: ArmSimulator) -> None:
    there, gone = add(arm, "web-1", HEARTBEAT, old_agent()), add(arm, "web-2", HEARTBEAT)
    found = lacking(arm, [of(there, "Removed", OMS.extension), of(gone, "Removed", OMS.extension)])
    assert found == {(there, OMS.extension): ["its absence"], (gone, OMS.extension): []}


async def test_a_removal_may_wait_for_an_agent_that_is_not_installed_and_for_a_heartbeat_that_cannot_come(
    arm: ArmSimulator,
) -> None:
    agents = (old_agent(), new_agent())
    sends = add(arm, "sends", HEARTBEAT, *agents)
    blocked = add(arm, "blocked", HEARTBEAT, *agents, old_endpoints_only=True)
    by_arm = add(arm, "by-arm", WITHOUT_HEARTBEAT, *agents, old_endpoints_only=True)
    failed = add(arm, "failed", WITHOUT_HEARTBEAT, *agents)
    rows = [of(vm, "Waiting", OMS.extension) for vm in (sends, blocked, by_arm, failed)]
    rows += [of(vm, "Installed", AMA.extension) for vm in (sends, blocked, by_arm)]
    rows.append(of(failed, "Failed", AMA.extension))
    assert unproved(arm, rows) == {blocked, failed}


async def test_an_owner_and_a_policy_engine_undo_what_is_done_on_a_few_machines_as_often_as_each_wants() -> None:
    clock = ManualClock()
    arm = ArmSimulator(clock, seed=1, options=Options(subscriptions=tuple(SUBSCRIPTIONS)))
    fleet = make_storm_fleet(60, 1, tuple(SUBSCRIPTIONS))
    others, specs = Others(arm, 1, fleet), {each.id: each.spec for each in fleet}
    for each in fleet:
        installed = (new_agent(),) if expected(each, AMA).outcome == "Installed" else ()
        arm.add_vm(replace(each.spec, extensions=(*each.spec.extensions, *installed)))
    others.start()
    others.stop_changing()
    for _ in range(100):
        await clock.advance(600)
        for machine in arm.machines:  # the product's part
            old, new = (machine.find_handler(target.handler, other_than="") for target in (OMS, AMA))
            with suppress(ArmError):  # another write is under way
                if others.remover.written[machine.key] and new is None:
                    arm.put_extension_as_other_deployer(machine.id, new_agent())
                if old is not None and group_of(specs[machine.key]) is Group.MIGRATING:
                    arm.delete_extension_as_other_deployer(machine.id, old.name)
    others.stop_undoing()
    assert sorted(others.remover.written.values()) == [1, 3]
    assert sorted(others.engine.written.values()) == [1, 3]
    assert not others.remover.written.keys() & others.engine.written.keys()
    assert others.changes_of_agent == others.remover.written


@pytest.mark.parametrize("acts_in_the_last_moment", [False, True])
async def test_what_others_do_in_the_last_moment_of_a_storm_is_waited_for(acts_in_the_last_moment: bool) -> None:
    polls: list[bool] = []
    stopped_after: list[int] = []

    async def is_calm() -> bool:
        polls.append(not (acts_in_the_last_moment and len(polls) in (4, 5)))
        return polls[-1]

    await until_calm(is_calm, lambda: stopped_after.append(len(polls)), poll=0)
    assert stopped_after[0] == 4
    assert polls == [True] * 4 + ([False] * 2 + [True] * 5 if acts_in_the_last_moment else [True])
