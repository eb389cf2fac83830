"""Every write to Azure is a line of the history, with why, by whose hand, its request id and what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.change_queries import ChangeQuery, matching_changes, newest
from onboarding.application.notifications import EventRef
from onboarding.application.ports import RowVersions
from onboarding.domain.errors import ArmError, LostRace
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.limits.pause import Pause
from onboarding.domain.reconcile.change import Answer, Change
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.resource_id import VmId
from tests.flow.pauses.test_pauses import Claims
from tests.flow.steps.test_azure_monitor import AMA, RULE, SECOND_RULE, SETTINGS, SYSTEM, add, patched, world_of
from tests.flow.steps.test_azure_monitor import POLICY as MONITOR
from tests.flow.steps.test_removal import RETIRE
from tests.flow.world import (
    OMS,
    POLICY,
    SECOND,
    SECOND_POLICY,
    START,
    ArmInMemory,
    LedgerInMemory,
    World,
    extension,
)

REFUSED = Evidence(http_status=400, code="InvalidParameter", message="the region is wrong")
PERSON, OTHER = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


class ListsNothing(ArmInMemory):
    """Its list of associations is empty and is never refused."""

    async def list_associations(self, vm: VmId) -> Sequence[Mapping[str, Any]]:
        return []


class LosesFirstCommit(LedgerInMemory):
    """Another worker writes the rows before the first commit."""

    commits = 0

    async def commit(self, *arguments: Any, **options: Any) -> RowVersions:
        self.commits += 1
        if self.commits == 1:
            raise LostRace("lost")
        return await super().commit(*arguments, **options)


async def changes_of(world: World, **selected: Any) -> list[Change]:
    """All changes, the oldest first."""
    query = ChangeQuery(**{"since": START - timedelta(days=1), **selected})
    found, _ = await newest(matching_changes(world.ledger, query), 1000)
    return found[::-1]


def brief(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(change.step, change.answer.value, change.result) for change in changes]


async def onboard(world: World, vm: VmId) -> None:
    """Identity and association, then the extension, each at a time of its own."""
    await world.created(vm)
    await patched(world, vm)
    world.now += timedelta(seconds=90)
    await world.finish_install(vm, AMA)


async def test_each_step_of_a_machine_has_a_change_with_its_own_request_id() -> None:
    world = world_of()
    vm = add(world)
    began = world.now
    await onboard(world, vm)

    changes = await changes_of(world)

    assert sorted(brief(changes)) == [
        ("association", "accepted", "Done"),
        ("extension", "accepted", "Installed"),
        ("identity", "accepted", "Done"),
    ]
    assert len({change.client_request_id for change in changes}) == 3
    found = {change.step: change for change in changes}
    extension = found["extension"]
    assert extension.client_request_id == world.arm.request_ids[-1] == world.row(vm, AMA).client_request_id
    assert extension.sent_at == began + timedelta(seconds=6)
    assert found["association"].sent_at == found["identity"].sent_at == began
    assert {change.policy for change in changes} == {"azure-monitor"}
    assert {change.policy_hash for change in changes} == {world.row(vm, AMA).policy_hash}
    assert {change.correlation_id for change in changes} == {"correlation"}
    assert found["association"].subject == RULE
    assert found["association"].reason == "the VM is not associated with linux"
    assert (found["identity"].subject, found["identity"].attempt) == ("system", 1)
    assert all(change.reason for change in changes)
    assert {change.by for change in changes} == {""}


async def test_the_associations_of_one_pass_do_not_overwrite_each_other() -> None:
    world = world_of({"dataCollectionRules": [RULE, SECOND_RULE]})
    vm = add(world, SYSTEM)
    await world.created(vm)

    changes = await changes_of(world, steps=(StepKind.ASSOCIATION,))

    assert sorted(change.subject for change in changes) == sorted([RULE, SECOND_RULE])
    assert len({change.client_request_id for change in changes}) == 2


async def test_a_change_is_no_line_of_the_rows_history() -> None:
    world = world_of()
    vm = add(world)
    await onboard(world, vm)
    lines = [line.outcome async for line in world.ledger.history(vm)]
    assert lines == [Outcome.INSTALLED, Outcome.REQUESTED, Outcome.REQUESTED]


async def test_a_refusal_has_arms_code_and_words() -> None:
    world = World()
    vm = world.add()
    world.arm.install_errors = [REFUSED]
    await world.created(vm)

    (change,) = await changes_of(world)

    assert (change.answer, change.error_code, change.message) == (
        Answer.REFUSED,
        "InvalidParameter",
        "the region is wrong",
    )
    assert (change.result, change.result_code) == ("Failed", "")


async def test_a_refused_association_is_recorded_although_its_row_says_the_same_as_before() -> None:
    world = World(policies=[MONITOR], app_settings=SETTINGS, arm=ListsNothing())
    vm = add(world, SYSTEM)
    world.arm.association_errors = [Evidence(http_status=400, code="InvalidAssociation", message="no")] * 3
    await world.created(vm)
    await world.finish_install(vm, AMA)
    for person in (OTHER, PERSON):
        world.now += timedelta(hours=1)
        world.person = person
        await world.requests.handle(vm, OperatorRequest())

    changes = await changes_of(world, steps=(StepKind.ASSOCIATION,))

    assert {change.error_code for change in changes} == {"InvalidAssociation"}
    assert [change.by for change in changes] == ["", OTHER, PERSON]
    assert {line.by async for line in world.ledger.history(vm)} == {"", OTHER}, "the last one had no news"


async def test_an_unanswered_request_stays_unanswered_and_is_shown_again_when_it_is_sent_again() -> None:
    world = World()
    vm = world.add()
    world.arm.install_errors = [Evidence(code="ServiceResponseTimeoutError")]
    await world.created(vm)
    assert brief(await changes_of(world)) == [("extension", "unanswered", "")]

    await world.run_latest_check()
    await world.finish_install(vm)

    changes = await changes_of(world)
    assert brief(changes) == [("extension", "unanswered", "Installed"), ("extension", "accepted", "Installed")]
    assert len({change.client_request_id for change in changes}) == 1, "it is the same attempt"
    assert changes[0].sent_at < changes[1].sent_at


async def test_an_attempt_that_failed_after_arm_accepted_it_says_so() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(
        vm, extension(state="Failed"), "dpkg frontend lock was locked by another process", "ProvisioningState/failed/0"
    )
    await world.extension_written(vm, succeeded=False)
    await world.run_latest_check()
    await world.finish_install(vm)

    first, second = await changes_of(world)

    assert (first.answer, first.result, second.result) == (Answer.ACCEPTED, "Failed", "Installed")
    assert first.result_code
    assert (first.attempt, second.attempt) == (1, 2)


async def test_a_retry_has_the_object_id_of_the_person_and_keeps_it_for_what_follows() -> None:
    world = World()
    vm = world.add()
    world.arm.install_errors = [REFUSED]
    await world.created(vm)
    world.person = PERSON
    world.now += timedelta(hours=1)
    world.arm.install_errors = [Evidence(code="ServiceResponseTimeoutError")]
    await world.requests.handle(vm, OperatorRequest())
    await world.run_latest_check()  # of the function app, which sends the person's request again
    await world.finish_install(vm)

    changes = await changes_of(world)

    assert [(change.answer.value, change.by) for change in changes] == [
        ("refused", ""),
        ("unanswered", PERSON),
        ("accepted", PERSON),
    ]
    lines = [(line.outcome.value, line.by) async for line in world.ledger.history(vm)]
    assert lines[0] == ("Installed", PERSON)
    assert lines[-1] == ("Failed", "")
    world.person = OTHER
    world.now += timedelta(hours=1)
    await world.extension_deleted(vm)
    assert world.row(vm).by in ("", PERSON), "nobody else has asked"


async def test_what_an_event_begins_after_a_persons_episode_has_no_person() -> None:
    world = World()
    vm = world.add()
    world.person = PERSON
    await world.requests.handle(vm, OperatorRequest())
    await world.finish_install(vm)
    world.now += timedelta(hours=1)
    del world.arm.machines[vm.key]["resources"]
    await world.extension_deleted(vm)

    changes = await changes_of(world)

    assert [change.by for change in changes] == [PERSON, ""]
    assert world.row(vm).by == ""


async def test_a_removal_by_hand_is_a_change_of_that_person() -> None:
    world = World(policies=[RETIRE])
    vm = world.add()
    world.arm.set_extension(vm, extension("OMSExtension"))
    world.person = PERSON
    await world.requests.handle(vm, OperatorRequest(extension=OMS, removal=True))
    await world.removed(vm)

    (change,) = await changes_of(world, steps=(StepKind.REMOVAL,))

    assert (change.subject, change.answer, change.result) == ("OMSExtension", Answer.ACCEPTED, "Removed")
    assert (change.by, change.reason) == (PERSON, "a person removes it")
    assert change.client_request_id == world.arm.removal_ids[0]


async def test_two_policies_have_a_change_each() -> None:
    world = World(policies=[POLICY, SECOND_POLICY])
    vm = world.add()
    await world.created(vm)
    await world.advance(vm)
    await world.advance(vm)

    changes = await changes_of(world)
    only = await changes_of(world, policies=("INVENTORY",))

    assert {(change.policy, change.extension) for change in changes} == {
        ("linux-monitoring", OMS),
        ("inventory", SECOND.name),
    }
    assert [change.extension for change in only] == [SECOND.name]


async def test_a_refusal_of_one_policy_and_the_request_of_the_other_are_both_there() -> None:
    world = World(policies=[POLICY, SECOND_POLICY])
    vm = world.add()
    world.arm.install_errors = [REFUSED]
    await world.created(vm)
    assert {(change.extension, change.answer.value) for change in await changes_of(world)} == {
        (OMS, "refused"),
        (SECOND.name, "accepted"),
    }


async def test_two_machines_are_distinguished_by_name_with_and_without_group() -> None:
    world = World()
    vms = [world.add("web01"), world.add("web02")]
    for vm in vms:
        await world.created(vm)
        world.now += timedelta(minutes=1)

    assert [change.resource_id for change in await changes_of(world)] == [str(vm) for vm in vms]
    for selection in (Selection(vm_name="WEB02"), Selection(resource_group="APP-rg", vm_name="web02")):
        found = await changes_of(world, selection=selection)
        assert [change.resource_id for change in found] == [str(vms[1])]
    assert await changes_of(world, selection=Selection(resource_group="other")) == []
    assert await changes_of(world, selection=Selection(vm_name="web03")) == []


async def test_only_what_was_sent_since_then_whenever_its_event_happened() -> None:
    world = World()
    old, new = world.add("old"), world.add("new")
    await world.created(old)
    world.now += timedelta(days=2)
    since = world.now
    await world.created(new, EventRef("late", START))  # delivered two days late
    assert [change.resource_id for change in await changes_of(world, since=since)] == [str(new)]


async def test_the_newest_are_kept_whatever_order_they_are_read_in() -> None:
    world = World()
    for number in range(9):
        await world.created(world.add(f"vm{8 - number}"))
        world.now += timedelta(minutes=1)
    query = ChangeQuery(since=START)
    found, total = await newest(matching_changes(world.ledger, query), 2)
    assert [change.resource_id.rpartition("/")[2] for change in found] == ["vm0", "vm1"]
    assert total == 9


async def test_what_a_pause_holds_back_is_no_change() -> None:
    ledger = Claims()
    world = World(ledger=ledger)
    vm = world.add()

    async def pause() -> None:
        await world.pauses.write(Pause(reason="freeze", since=world.now), None)
        world.now += timedelta(seconds=6)  # what is known of the pauses is too old by then

    ledger.after_claim = pause
    await world.created(vm)
    assert "PUT" not in world.arm.calls
    assert await changes_of(world) == []
    assert [change.answer for change in ledger.changes_by_key.values()] == [Answer.NOT_SENT]


async def test_what_arm_refuses_a_person_leaves_no_line() -> None:
    world = World()
    vm = world.add()
    world.person = PERSON
    world.arm.install_errors = [Evidence(http_status=403, code="AuthorizationFailed", message="no")]
    with pytest.raises(ArmError):
        await world.requests.handle(vm, OperatorRequest())
    assert await changes_of(world) == []
    assert world.ledger.changes_by_key == {}


async def test_an_association_is_recorded_although_another_worker_wrote_the_rows_first() -> None:
    policy = {**MONITOR, "existing": "enforce"}
    world = World(policies=[policy], app_settings=SETTINGS, ledger=LosesFirstCommit())
    vm = add(world, SYSTEM, age=timedelta(days=30))
    await world.created(vm)
    assert world.arm.calls.count("PUT association") == 1, "the second pass finds it in the list"
    assert brief(await changes_of(world, steps=(StepKind.ASSOCIATION,))) == [("association", "accepted", "Done")]
