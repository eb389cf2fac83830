"""What a pause holds back, what it does not, and what follows its end, for each kind of write and each fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.errors import StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.pauses.paused_world import Hosts
from tests.flow.steps.test_azure_monitor import AMA, OTHER, OURS, RULE, SYSTEM, add, patched, states_of
from tests.flow.steps.test_azure_monitor import POLICY as MONITOR
from tests.flow.world import (
    OMS,
    POLICY,
    SECOND,
    SECOND_POLICY,
    SUBSCRIPTION,
    WORKSPACE_ID,
    LedgerInMemory,
    PausesInMemory,
    extension,
)

OTHER_SUBSCRIPTION = "99999999-3333-4444-5555-666677778888"
STALE = timedelta(seconds=6)
LOCKED = (
    "ProvisioningState/failed/51",
    "[ExtensionOperationError] Non-zero exit code: 51, omsagent.py\n[stdout]\ndpkg: error: dpkg frontend lock is "
    "locked by another process",
)


class Died(BaseException):
    """The process dies here."""


class Claims(LedgerInMemory):
    """Does something once, right after a claim was written."""

    def __init__(self) -> None:
        super().__init__()
        self.after_claim: Callable[[], Awaitable[None]] | None = None

    async def commit(self, machine: Any, *args: Any, **named: Any) -> Any:
        written = await super().commit(machine, *args, **named)
        if machine.claim is not None and (act := self.after_claim) is not None:
            self.after_claim = None
            await act()
        return written


def paused(row: Row) -> bool:
    return (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.PAUSED)


def claimed(hosts: Hosts, vm: VmId) -> bool:
    return hosts.world.ledger.machines[vm.key].row.claim is not None


async def resumed(hosts: Hosts, subscription: str = "", policy: str = "") -> None:
    hosts.move(timedelta(minutes=1))
    await hosts.resume(subscription, policy)
    await hosts.run_requests()


# -- between the claim and the request


@pytest.fixture
def hosts() -> Hosts:
    return Hosts(1, ledger=Claims())


def after_claim(hosts: Hosts, act: Callable[[], Awaitable[None]]) -> None:
    assert isinstance(hosts.world.ledger, Claims)
    hosts.world.ledger.after_claim = act


async def pause_late(hosts: Hosts) -> None:
    """A person pauses everything, and what the host has read before is too old by then."""
    hosts.move(STALE)
    await hosts.pause()


async def test_a_claim_whose_request_is_paused_meanwhile_is_given_up(hosts: Hosts) -> None:
    vm = hosts.world.add()
    after_claim(hosts, lambda: pause_late(hosts))
    await hosts.world.created(vm)

    row = hosts.world.row(vm)
    assert paused(row)
    assert not claimed(hosts, vm)
    assert (row.attempt, row.requested_at, row.client_request_id, row.sent_digest) == (0, None, "", "")
    assert hosts.writes() == []

    await resumed(hosts)
    await hosts.world.installed(vm)
    row = hosts.world.row(vm)
    assert (row.outcome, row.attempt) == (Outcome.INSTALLED, 1)
    assert len(hosts.writes()) == 1


async def test_the_other_extension_goes_on_when_a_claim_is_given_up() -> None:
    hosts = Hosts(1, [POLICY, SECOND_POLICY], ledger=Claims())

    async def pause_one() -> None:
        hosts.move(STALE)
        await hosts.pause(policy=POLICY["name"])

    after_claim(hosts, pause_one)
    vm = hosts.world.add()
    await hosts.world.created(vm)
    assert paused(hosts.world.row(vm))
    assert hosts.world.row(vm, SECOND.name).outcome is Outcome.REQUESTED
    assert len(hosts.writes()) == 1


async def test_while_the_pauses_cannot_be_read_nothing_is_sent_and_the_event_fails(hosts: Hosts) -> None:
    vm = hosts.world.add()
    trigger = hosts.world.trigger()
    hosts.world.pauses.reachable = False
    with pytest.raises(StorageError):
        await hosts.world.created(vm, trigger)
    assert hosts.writes() == []

    hosts.world.pauses.reachable = True
    await hosts.world.created(vm, trigger)
    assert len(hosts.writes()) == 1


async def test_a_claim_whose_pauses_cannot_be_read_is_sent_by_its_check(hosts: Hosts) -> None:
    async def fails() -> None:
        hosts.move(STALE)
        hosts.world.pauses.reachable = False

    vm, trigger = hosts.world.add(), hosts.world.trigger()
    after_claim(hosts, fails)
    with pytest.raises(StorageError):
        await hosts.world.created(vm, trigger)
    assert hosts.writes() == []

    hosts.world.pauses.reachable = True
    await hosts.world.created(vm, trigger)  # the delivery is repeated
    assert hosts.writes() == [], "the claim may be that of a request that was sent"
    await hosts.run_check(vm)
    await hosts.world.installed(vm)
    assert hosts.world.row(vm).outcome is Outcome.INSTALLED
    assert len(hosts.writes()) == 1


@pytest.mark.parametrize("sent", [False, True])
async def test_a_process_that_dies_after_its_claim_is_continued_after_the_pause(hosts: Hosts, sent: bool) -> None:
    async def dies() -> None:
        raise Died

    vm = hosts.world.add()
    if sent:
        hosts.arm.after_put = dies
    else:
        after_claim(hosts, dies)
    with pytest.raises(Died):
        await hosts.world.created(vm)
    hosts.arm.after_put = None
    await hosts.pause()
    await hosts.run_check(vm)
    row = hosts.world.row(vm)
    if sent:
        assert row.outcome is Outcome.REQUESTED, "ARM is at work, which is read"
    else:
        assert paused(row)
        assert not claimed(hosts, vm)
        assert hosts.writes() == []
        await resumed(hosts)
    await hosts.world.installed(vm)
    assert hosts.world.row(vm).outcome is Outcome.INSTALLED
    assert len(hosts.writes()) == 1


async def test_an_unanswered_request_is_not_repeated_during_a_pause(hosts: Hosts) -> None:
    vm = hosts.world.add()
    hosts.arm.install_errors = [Evidence(code="ServiceResponseTimeoutError")]
    await hosts.world.created(vm)
    assert hosts.world.row(vm).waiting_for is WaitingFor.CLAIM
    await hosts.pause()
    await hosts.run_check(vm)
    assert paused(hosts.world.row(vm))
    assert len(hosts.writes()) == 1
    await resumed(hosts)
    assert len(hosts.writes()) == 2
    await hosts.world.installed(vm)
    assert hosts.world.row(vm).outcome is Outcome.INSTALLED


async def test_another_host_that_wrote_first_keeps_its_row(hosts: Hosts) -> None:
    """The claim is to be given up, and another worker has written the row meanwhile."""
    vm = hosts.world.add()

    async def overtaken() -> None:
        await pause_late(hosts)
        stored = hosts.world.ledger.machines[vm.key]
        hosts.world.ledger.machines[vm.key] = type(stored)(stored.row, "v999", stored.rest)

    after_claim(hosts, overtaken)
    lines = len(hosts.world.ledger.log)
    await hosts.world.created(vm)
    assert hosts.world.row(vm).waiting_for is WaitingFor.CLAIM
    assert len(hosts.world.ledger.log) == lines
    assert hosts.writes() == []


# -- scopes


async def test_a_pause_of_another_subscription_or_policy_holds_nothing_back(hosts: Hosts) -> None:
    await hosts.pause(subscription=OTHER_SUBSCRIPTION)
    await hosts.pause(policy="another")
    await hosts.pause(subscription=OTHER_SUBSCRIPTION, policy=POLICY["name"])
    vm = hosts.world.add()
    await hosts.world.created(vm)
    assert hosts.world.row(vm).outcome is Outcome.REQUESTED


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"subscription": SUBSCRIPTION},
        {"policy": POLICY["name"]},
        {"subscription": SUBSCRIPTION, "policy": POLICY["name"]},
    ],
)
async def test_a_pause_holds_its_scope_back_until_that_scope_is_resumed(scope: dict[str, str]) -> None:
    hosts = Hosts(1, [POLICY, SECOND_POLICY])
    await hosts.pause(**scope)
    vm = hosts.world.add()
    await hosts.world.created(vm)
    assert paused(hosts.world.row(vm))
    assert paused(hosts.world.row(vm, SECOND.name)) == ("policy" not in scope)
    assert await hosts.resume(OTHER_SUBSCRIPTION, "") == 0
    await resumed(hosts, **scope)
    sent = [hosts.world.row(vm, name).outcome is Outcome.REQUESTED for name in (OMS, SECOND.name)]
    assert any(sent), "one at a time"


async def test_of_overlapping_pauses_the_last_one_to_end_releases(hosts: Hosts) -> None:
    ends = hosts.world.now + timedelta(hours=1)
    await hosts.pause(until=ends)
    await hosts.pause(policy=POLICY["name"])
    await hosts.pause(subscription=SUBSCRIPTION)
    vm = hosts.world.add()
    await hosts.world.created(vm)
    row = hosts.world.row(vm)
    assert paused(row)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at > ends + timedelta(hours=20), "the end of one is not that of the others"
    assert await hosts.resume(policy=POLICY["name"]) == 0, "it is paused still"
    hosts.move(ends + timedelta(minutes=1))
    await hosts.world.updated(vm)
    assert paused(hosts.world.row(vm))
    await resumed(hosts, SUBSCRIPTION)
    assert hosts.world.row(vm).outcome is Outcome.REQUESTED
    assert len(hosts.writes()) == 1


async def test_an_event_after_the_pause_needs_no_check(hosts: Hosts) -> None:
    await hosts.pause()
    vm = hosts.world.add()
    await hosts.world.created(vm)
    await hosts.person.end(None)
    hosts.move(STALE)
    await hosts.world.updated(vm)
    assert hosts.world.row(vm).outcome is Outcome.REQUESTED


async def test_a_machine_that_is_made_due_finds_every_host_informed(hosts: Hosts) -> None:
    await hosts.pause()
    vm = hosts.world.add()
    await hosts.world.created(vm)
    hosts.move(timedelta(seconds=1))
    await hosts.resume()  # the host has read the pause a second ago
    await hosts.run_requests()
    assert hosts.world.row(vm).outcome is Outcome.REQUESTED


async def test_the_pauses_of_a_new_machine_are_read_beside_its_rows(hosts: Hosts) -> None:
    reads: list[int] = []

    async def count() -> None:
        reads.append(hosts.world.pauses.reads)

    hosts.arm.after_read = count
    await hosts.world.created(hosts.world.add())
    assert reads == [1], "so that the event takes no longer"
    assert hosts.world.pauses.reads == 1


# -- kinds of write, and what a row was before


async def test_identity_and_association_wait_too() -> None:
    hosts = Hosts(1, [MONITOR], app_settings={"DATA_COLLECTION_RULE_ID": RULE})
    await hosts.pause()
    vm = add(hosts.world)
    await hosts.world.created(vm)
    assert hosts.writes() == []
    assert paused(hosts.world.row(vm, AMA))
    assert states_of(hosts.world, vm) == {"identity": "waiting", "association linux": "waiting", "extension": "waiting"}
    await resumed(hosts)
    assert states_of(hosts.world, vm)["association linux"] == "done"
    await patched(hosts.world, vm)
    await hosts.world.finish_install(vm, AMA)
    row = hosts.world.row(vm, AMA)
    assert (row.outcome, row.attempt, row.step) == (Outcome.INSTALLED, 1, "")
    assert len(hosts.writes()) == 3


async def test_an_association_alone_waits_and_is_written_afterwards() -> None:
    hosts = Hosts(1, [MONITOR], app_settings={"DATA_COLLECTION_RULE_ID": RULE})
    vm = add(hosts.world, SYSTEM)
    await hosts.world.created(vm)
    await hosts.world.finish_install(vm, AMA)
    hosts.arm.associations.clear()
    hosts.move(timedelta(hours=1))
    await hosts.pause()
    await hosts.world.association_deleted(vm)
    row = hosts.world.row(vm, AMA)
    assert paused(row)
    assert row.step == "association"
    assert len(hosts.writes()) == 2
    hosts.move(timedelta(minutes=5))
    await hosts.world.updated(vm)
    assert paused(hosts.world.row(vm, AMA))
    await resumed(hosts)
    assert hosts.world.row(vm, AMA).outcome is Outcome.INSTALLED
    assert len(hosts.writes()) == 3


async def test_a_paused_association_uses_up_no_probe_of_an_open_breaker() -> None:
    hosts = Hosts(1, [MONITOR], app_settings={"DATA_COLLECTION_RULE_ID": RULE})
    hosts.arm.association_errors = [Evidence(403, "AuthorizationFailed", "does not have authorization")]
    await hosts.world.created(add(hosts.world, SYSTEM, name="first"))
    (breaker,) = hosts.world.breakers.stored.values()
    hosts.move(timedelta(hours=1))
    await hosts.pause()
    await hosts.world.created(add(hosts.world, SYSTEM, name="second"))
    assert hosts.world.breakers.stored == dict.fromkeys(hosts.world.breakers.stored, breaker)


async def test_one_request_for_the_identities_of_two_policies_waits_for_both() -> None:
    """Without the identity that a paused policy wants, the other would add one of its own, and stand in its way."""
    first = {**MONITOR, "name": "one", "identity": {"use": "added", "add": OURS}, "dataCollectionRules": []}
    first.pop("dataCollectionEndpoint")
    second = {**first, "name": "two", "extension": SECOND.name, "identity": {"use": "any", "add": OTHER}}
    hosts = Hosts(1, [first, second])
    await hosts.pause(policy="one")
    vm = add(hosts.world)
    await hosts.world.created(vm)
    assert hosts.arm.patches == []
    await resumed(hosts, policy="one")
    (patch,) = hosts.arm.patches
    assert list(patch["identity"]["userAssignedIdentities"]) == [OURS]


@pytest.mark.parametrize("resumed", [False, True])
async def test_the_sweep_leaves_a_request_alone_that_waits_for_the_pause_of_another_policy(resumed: bool) -> None:
    first = {**MONITOR, "name": "one", "identity": {"use": "added", "add": OURS}, "dataCollectionRules": []}
    first.pop("dataCollectionEndpoint")
    second = {**first, "name": "two", "extension": SECOND.name, "identity": {"use": "any", "add": OTHER}}
    hosts = Hosts(1, [first, second])
    await hosts.pause(policy="one")
    vm = add(hosts.world)
    await hosts.world.created(vm)
    assert paused(hosts.world.row(vm, SECOND.name))
    if resumed:
        await hosts.person.end(("", "one"))
    hosts.move(timedelta(hours=1))
    await hosts.world.sweep.run()
    assert len(hosts.world.schedule_queue.reconcile_requests) == resumed


@pytest.mark.parametrize("drift", ["removed", "overwritten"])
async def test_drift_that_is_found_during_a_pause_is_corrected_after_it(hosts: Hosts, drift: str) -> None:
    vm = hosts.world.add()
    await hosts.world.created(vm)
    await hosts.world.installed(vm)
    await hosts.pause()
    hosts.move(timedelta(hours=1))
    if drift == "removed":
        hosts.arm.machines[vm.key]["resources"] = []
        await hosts.world.extension_deleted(vm)
    else:
        there = extension(settings={"workspaceId": WORKSPACE_ID, "more": 1})
        hosts.arm.set_extension(vm, there)
        await hosts.world.updated(vm)
    assert paused(hosts.world.row(vm))
    assert len(hosts.writes()) == 1
    await resumed(hosts)
    assert len(hosts.writes()) == 2
    row = hosts.world.row(vm)
    assert (row.outcome, row.attempt) == (Outcome.REQUESTED, 1)
    assert len(row.undone_at.split()) == 1, "what somebody undid is counted once"


async def test_a_retry_that_was_due_is_sent_after_the_pause(hosts: Hosts) -> None:
    vm = hosts.world.add()
    await hosts.world.created(vm)
    hosts.arm.set_extension(vm, extension(state="Failed"), LOCKED[1], LOCKED[0])
    await hosts.world.extension_written(vm, succeeded=False)
    assert hosts.world.row(vm).waiting_for is WaitingFor.PACKAGE_MANAGER
    await hosts.pause()
    await hosts.run_check(vm)
    assert paused(hosts.world.row(vm))
    await resumed(hosts)
    row = hosts.world.row(vm)
    assert (row.outcome, row.attempt) == (Outcome.REQUESTED, 2)
    assert len(hosts.writes()) == 2


async def test_a_machine_that_is_deleted_during_the_pause_is_gone(hosts: Hosts) -> None:
    await hosts.pause()
    vm = hosts.world.add()
    await hosts.world.created(vm)
    await hosts.world.deleted(vm)
    assert hosts.world.row(vm).outcome is Outcome.GONE
    assert await hosts.resume() == 0


async def test_a_pause_uses_up_no_install_of_the_hour() -> None:
    hosts = Hosts(1, [{**POLICY, "brake": {"maxInstallsPerHour": 1}}])
    await hosts.pause()
    fleet = [hosts.world.add(name) for name in ("one", "two")]
    for vm in fleet:
        await hosts.world.created(vm)
    assert hosts.world.rollouts.trips == 0
    await resumed(hosts)
    assert sorted(str(hosts.world.row(vm).waiting_for) for vm in fleet) == ["brake", "install"]


async def test_an_expired_pause_holds_nothing_back_and_is_deleted_by_the_next_resume(hosts: Hosts) -> None:
    await hosts.pause(until=hosts.world.now + timedelta(minutes=5))
    hosts.move(timedelta(minutes=6))
    vm = hosts.world.add()
    await hosts.world.created(vm)
    assert hosts.world.row(vm).outcome is Outcome.REQUESTED
    assert await hosts.person.active() == ()
    assert await hosts.person.end(("", "")) == ()
    assert hosts.world.pauses.stored == {}


async def test_pauses_that_are_read_too_slowly_hold_everything_back(hosts: Hosts) -> None:
    class Slow(PausesInMemory):
        async def read_all(self) -> Any:
            found = await super().read_all()
            hosts.move(STALE)
            return found

    hosts = Hosts(1, pauses=Slow())
    with pytest.raises(StorageError, match="within 5 s"):
        await hosts.world.created(hosts.world.add())
    assert hosts.writes() == []


# -- a person's own requests


async def test_a_persons_request_waits_as_well_unless_they_say_otherwise(hosts: Hosts) -> None:
    await hosts.pause()
    vm = hosts.world.add()
    rows = await hosts.world.requests.handle(vm, OperatorRequest())
    assert paused(rows[OMS])
    assert paused((await hosts.world.requests.follow(vm))[OMS])
    rows = await hosts.world.requests.handle(vm, OperatorRequest(despite_pause=True))
    assert rows[OMS].outcome is Outcome.REQUESTED
    await hosts.world.installed(vm)
    assert hosts.world.row(vm).outcome is Outcome.INSTALLED


async def test_a_request_that_is_followed_despite_the_pause_does_all_its_steps() -> None:
    hosts = Hosts(1, [MONITOR], app_settings={"DATA_COLLECTION_RULE_ID": RULE})
    await hosts.pause()
    vm = add(hosts.world)
    await hosts.world.requests.handle(vm, OperatorRequest(despite_pause=True))
    hosts.arm.end_patch(vm)
    hosts.move(timedelta(seconds=10))
    rows = await hosts.world.requests.follow(vm, despite_pause=True)
    assert (rows[AMA].outcome, rows[AMA].waiting_for) == (Outcome.REQUESTED, WaitingFor.INSTALL)
