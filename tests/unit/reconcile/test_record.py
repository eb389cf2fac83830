"""From what was decided to the row that says so."""

from __future__ import annotations

from copy import replace
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.failures.classification import Cause
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, Problem, Satisfied, Stop, Wait
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import Episode, claim_of, closed, row_of, unread
from onboarding.domain.resource_id import VmId
from tests.reference import parse_policy
from tests.unit.reconcile.contexts import CUSTOM, ENTRY, OPENING, START, VM, context, extension, row

NOW = START + timedelta(seconds=90)
UNTIL = NOW + timedelta(minutes=2)
KEY = "z4bU3p1/GrnWpQkky4gdabWXAhbWSTz70hm4m2Xt92XI+rSRgE8qVvRhsGo9TXffbrTahyrwv35W0pOqQAU7uQ=="
OPEN = row(
    Outcome.REQUESTED,
    WaitingFor.INSTALL,
    event_id="event-0",
    event_time=START - timedelta(minutes=1),
    correlation_id="correlation-0",
    requested_at=START,
    waiting_since=START,
    next_attempt_at=UNTIL,
    attempt=2,
    extension_name="OMSExtension",
    extension_version="1.3",
    error_code="55",
    message="locked",
)
WAIT = Wait(WaitingFor.AGENT_READY, START, UNTIL, "the agent does not report")
FAILED = Stop(
    Outcome.FAILED,
    f"it failed with {KEY}",
    Problem("10", Cause.ALREADY_CONNECTED, "connected", "fix it", f"key {KEY}"),
)


def _decided(decision: Satisfied | Wait | Stop, last: Row | None = None, **vm: Any) -> Row:
    return row_of(context(now=NOW, last=last, **vm), decision, OPENING)


def test_a_row_tells_what_was_read_and_what_decided() -> None:
    image = {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS", "version": "latest"}
    recorded = _decided(WAIT, image={**image, "exactVersion": "16.04.2021"})
    assert (recorded.resource_id, recorded.vm_name, recorded.resource_group, recorded.vm_id) == (
        VM,
        "web01",
        "app-rg",
        "id-of-web01",
    )
    assert (recorded.image_publisher, recorded.image_offer, recorded.image_sku) == (
        "Canonical",
        "UbuntuServer",
        "16.04-LTS",
    )
    assert recorded.image_version == "16.04.2021"
    assert (recorded.distribution, recorded.os_version, recorded.witness) == ("ubuntu", "16.04", "marketplace image")
    assert (recorded.verdict, recorded.support_table) == ("supported", "2017-04")
    assert (recorded.extension, recorded.policy, recorded.effect) == (ENTRY.name, "linux", "deployIfNotExists")
    assert _decided(WAIT, image=CUSTOM).image_id == CUSTOM["id"]


def test_a_wait_says_for_what_since_when_and_until_when() -> None:
    recorded = _decided(WAIT)
    assert (recorded.outcome, recorded.reason) == (Outcome.WAITING, "the agent does not report")
    assert (recorded.waiting_for, recorded.waiting_since, recorded.next_attempt_at) == (
        WaitingFor.AGENT_READY,
        START,
        UNTIL,
    )
    assert (recorded.finished_at, recorded.duration_ms) == (None, None)


def test_waiting_for_the_install_is_requested() -> None:
    recorded = _decided(replace(WAIT, waiting_for=WaitingFor.INSTALL))
    assert recorded.outcome is Outcome.REQUESTED


def test_the_end_says_when_and_how_long_it_took() -> None:
    recorded = _decided(Stop(Outcome.UNSUPPORTED, "not in the table"))
    assert (recorded.outcome, recorded.waiting_for, recorded.next_attempt_at) == (Outcome.UNSUPPORTED, None, None)
    assert (recorded.finished_at, recorded.duration_ms) == (NOW, 90_000)


@pytest.mark.parametrize(("ours", "outcome"), [(True, Outcome.INSTALLED), (False, Outcome.ALREADY_INSTALLED)])
def test_an_extension_that_is_there_is_named_with_what_runs(ours: bool, outcome: Outcome) -> None:
    s = context(now=NOW, extensions=[extension("Succeeded", "monitoring")])
    assert s.extension is not None
    recorded = row_of(s, Satisfied(s.extension, ours, "it is there"), OPENING)
    assert (recorded.outcome, recorded.extension_name, recorded.extension_version) == (outcome, "monitoring", "1.14.19")


def test_a_problem_is_recorded_without_secrets() -> None:
    recorded = _decided(FAILED)
    assert (recorded.error_code, recorded.error_meaning, recorded.advice) == ("10", "connected", "fix it")
    assert "key ***" in recorded.message
    assert KEY not in repr(recorded)


def test_a_long_message_keeps_its_head_and_tail() -> None:
    problem = Problem("10", Cause.UNKNOWN, "m", "a", "head " + "x " * 10_000 + "tail")
    message = _decided(Stop(Outcome.FAILED, "failed", problem)).message
    assert len(message) <= 8192
    assert message.startswith("head ")
    assert message.endswith(" tail")


def test_an_open_episode_goes_on() -> None:
    recorded = _decided(FAILED, last=OPEN)
    assert (recorded.event_id, recorded.event_time, recorded.correlation_id) == (
        "event-0",
        OPEN.event_time,
        "correlation-0",
    )
    assert (recorded.requested_at, recorded.attempt, recorded.duration_ms) == (START, 2, 150_000)
    assert (recorded.extension_name, recorded.extension_version) == ("OMSExtension", "1.3")


def test_a_problem_that_is_over_is_not_recorded_again() -> None:
    recorded = _decided(WAIT, last=OPEN)
    assert (recorded.error_code, recorded.message) == ("", "")


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome.final])
def test_a_row_that_was_at_rest_opens_with_the_new_event(outcome: Outcome) -> None:
    recorded = _decided(WAIT, last=replace(OPEN, outcome=outcome, waiting_for=None))
    assert (recorded.event_id, recorded.event_time, recorded.correlation_id) == OPENING
    assert (recorded.requested_at, recorded.extension_name) == (None, "")


@pytest.mark.parametrize(
    ("outcome", "decision", "attempt"),
    [
        (Outcome.FAILED, WAIT, 0),  # or the next check would give up without another attempt
        (Outcome.FAILED, FAILED, 2),
        (Outcome.INSTALLED, WAIT, 0),  # another episode
        (Outcome.WAITING, WAIT, 2),
    ],
)
def test_a_row_opens_with_all_tries_before_it(outcome: Outcome, decision: Wait | Stop, attempt: int) -> None:
    last = replace(OPEN, outcome=outcome)
    assert _decided(decision, last=last).attempt == attempt
    policy = parse_policy({"name": "linux", "extension": ENTRY.name}, "p", compile_rule)
    episode = Episode.of(last, OPENING, NOW)
    assert unread(VmId("s", "app-rg", "web01"), policy, last, decision, episode).attempt == attempt


def test_a_claim_names_what_will_be_requested() -> None:
    recorded = claim_of(context(now=NOW), Act("OMSExtension", 3, False, "policy wants it"), UNTIL, OPENING)
    assert (recorded.outcome, recorded.waiting_for, recorded.next_attempt_at) == (
        Outcome.WAITING,
        WaitingFor.CLAIM,
        UNTIL,
    )
    assert (recorded.attempt, recorded.extension_name, recorded.extension_version) == (3, "OMSExtension", "1.3")
    assert (recorded.event_id, recorded.requested_at) == ("event-1", None)


def test_a_vm_that_could_not_be_read_keeps_what_was_known() -> None:
    vm = VmId("s", "app-rg", "web01")
    policy = parse_policy({"name": "other", "extension": ENTRY.name}, "p", compile_rule)
    known = _decided(WAIT)
    recorded = unread(vm, policy, known, replace(WAIT, reason="ARM is busy"), Episode.of(known, OPENING, NOW))
    assert (recorded.distribution, recorded.image_sku, recorded.verdict) == ("ubuntu", "16.04-LTS", "supported")
    assert (recorded.policy, recorded.reason) == ("other", "ARM is busy")
    bare = unread(vm, policy, None, WAIT, Episode.of(None, OPENING, NOW))
    assert (bare.resource_id, bare.distribution, bare.attempt) == (VM, "", 0)


def test_an_event_closes_a_row_with_all_that_it_knew() -> None:
    ended = closed(OPEN, Outcome.INSTALLED, "the handler reports success", NOW)
    assert (ended.outcome, ended.reason) == (Outcome.INSTALLED, "the handler reports success")
    assert (ended.waiting_for, ended.waiting_since, ended.next_attempt_at) == (None, None, None)
    assert (ended.error_code, ended.message) == ("", "")
    assert (ended.finished_at, ended.duration_ms) == (NOW, 150_000)
    assert (ended.attempt, ended.extension_name, ended.requested_at) == (2, "OMSExtension", START)


def test_a_clock_that_runs_behind_makes_no_negative_duration() -> None:
    ended = closed(replace(OPEN, event_time=NOW + timedelta(hours=1)), Outcome.GONE, "deleted", NOW)
    assert ended.duration_ms == 0


def test_the_same_decision_twice_tells_nothing_new() -> None:
    s = context(now=NOW, power="stopped")
    decision = decide(s)
    assert isinstance(decision, Wait)
    first = row_of(s, decision, OPENING)
    again = context(now=NOW + timedelta(minutes=1), power="stopped", last=first)
    repeated = decide(again)
    assert isinstance(repeated, Wait)
    assert not row_of(again, repeated, ("event-2", NOW, "")).differs(first)
