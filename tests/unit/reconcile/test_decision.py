"""What is decided, factor by factor, in which order, and that every wait ends."""

from __future__ import annotations

from collections.abc import Callable
from copy import replace
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from onboarding.domain.failures.classification import classify
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.limits.rate_limiter import HELD_BACK
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import (
    Act,
    Decision,
    DecisionContext,
    RetryState,
    Satisfied,
    Stop,
    Wait,
)
from onboarding.domain.reconcile.retry import after_refusal
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import claim_of, row_of
from onboarding.domain.reconcile.wait_schedule import Waits
from tests.unit.reconcile.contexts import (
    BIONIC,
    CONNECTED,
    CUSTOM,
    ENTRY,
    LOCKED,
    OPENING,
    START,
    WRONG_KEY,
    context,
    extension,
    row,
)

type Answer = tuple[str, str, str]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LATER = START + HOUR
HELD = row(waiting_for=WaitingFor.THROTTLING, waiting_since=START, next_attempt_at=LATER)
SPENT = row(waiting_for=WaitingFor.CLAIM, waiting_since=START, next_attempt_at=START, attempt=5)
REQUESTED = row(Outcome.REQUESTED, WaitingFor.INSTALL, waiting_since=START, next_attempt_at=START, attempt=1)
NEW: dict[str, Any] = {"policy": {"settleDelay": "5m"}, "created": "2026-11-20T09:58:00Z"}

# In the order of the questions: what makes each of them answer, and its answer.
FACTORS: list[tuple[str, dict[str, Any], Answer]] = [
    ("not selected", {"policy": {"scope": "/subscriptions/other"}}, ("Stop", "OutOfScope", "")),
    ("another OS", {"os_type": "Windows"}, ("Stop", "OutOfScope", "")),
    ("deleting", {"state": "Deleting"}, ("Wait", "operation", "")),
    ("present", {"extensions": [extension("Succeeded")]}, ("Satisfied", "theirs", "")),
    ("under way", {"extensions": [extension("Creating")]}, ("Wait", "operation", "")),
    ("unsupported", {"image": BIONIC}, ("Stop", "Unsupported", "")),
    ("undetermined", {"image": CUSTOM}, ("Stop", "Undetermined", "")),
    ("audited", {"policy": {"effect": "auditIfNotExists"}}, ("Stop", "Audited", "")),
    (
        "disallowed",
        {"profile": {"allowExtensionOperations": False}},
        ("Stop", "Failed", "extension-operations-disallowed"),
    ),
    (
        "made without an agent",
        {"profile": {"linuxConfiguration": {"provisionVMAgent": False}}, "agent": "absent"},
        ("Stop", "Failed", "extension-operations-disallowed"),
    ),
    ("misconfigured", {"problems": ("OMS_WORKSPACE_ID is not set",)}, ("Stop", "Failed", "bad-configuration")),
    ("not running", {"power": "stopped"}, ("Wait", "vm-running", "")),
    ("agent silent", {"agent": "silent"}, ("Wait", "agent-ready", "")),
    ("broken for good", {"extensions": [extension("Failed", message=CONNECTED)]}, ("Stop", "Failed", "10")),
    ("a wrong key", {"extensions": [extension("Failed", message=WRONG_KEY)]}, ("Wait", "scope-paused", "53")),
    ("locked", {"extensions": [extension("Failed", message=LOCKED)]}, ("Wait", "package-manager", "55")),
    ("new", NEW, ("Wait", "settle-delay", "")),
    ("held", {"last": HELD}, ("Wait", "throttling", "")),
    ("exhausted", {"last": SPENT}, ("Stop", "Failed", "unknown")),
]
# A VM that nothing but its agent can tell of waits for the agent before it is undetermined; what is found on a VM
# after we asked for it is ours. Both have tests of their own.
SPECIAL = {
    ("undetermined", "not running"),
    ("undetermined", "agent silent"),
    ("present", "exhausted"),
    ("under way", "exhausted"),
    ("locked", "exhausted"),
    ("undetermined", "made without an agent"),
}
ANSWERS = {name: answer for name, _, answer in FACTORS}


def _answer(decision: Decision) -> Answer:
    match decision:
        case Act():
            return "Act", "", ""
        case Satisfied(ours=ours):
            return "Satisfied", "ours" if ours else "theirs", ""
        case Wait(waiting_for=what, problem=problem) | Stop(outcome=what, problem=problem):
            return type(decision).__name__, what.value, str(problem.code) if problem else ""


def test_a_running_supported_vm_gets_the_extension() -> None:
    decision = decide(context())
    assert decision == Act("OMSExtension", 1, False, "policy linux selects it, and the OS supports it")


@pytest.mark.parametrize(("name", "factors", "answer"), FACTORS, ids=[name for name, _, _ in FACTORS])
def test_each_factor_alone_decides(name: str, factors: dict[str, Any], answer: Answer) -> None:
    decision = decide(context(**factors))
    assert _answer(decision) == answer
    assert decision.reason


PAIRS = [
    (first[0], second[0], {**first[1], **second[1]})
    for first, second in combinations(FACTORS, 2)
    if not set(first[1]) & set(second[1]) and (first[0], second[0]) not in SPECIAL
]


@pytest.mark.parametrize(("first", "second", "factors"), PAIRS, ids=[f"{a} and {b}" for a, b, _ in PAIRS])
def test_of_two_factors_the_earlier_question_decides(first: str, second: str, factors: dict[str, Any]) -> None:
    assert _answer(decide(context(**factors))) == ANSWERS[first]


@pytest.mark.parametrize(
    ("vm", "answer"),
    [
        ({"power": "stopped"}, ("Wait", "vm-running", "")),
        ({"agent": "silent"}, ("Wait", "agent-ready", "")),
        ({"agent": "absent"}, ("Wait", "agent-ready", "")),
        ({}, ("Stop", "Undetermined", "")),
        ({"agent": "silent", "policy": {"waits": {"agent-ready": {"giveUpAfter": "1m"}}}}, ("Wait", "agent-ready", "")),
    ],
)
def test_an_image_that_does_not_tell_waits_for_the_agent(vm: dict[str, Any], answer: Answer) -> None:
    assert _answer(decide(context(image=CUSTOM, **vm))) == answer


def test_an_agent_that_never_tells_leaves_it_undetermined() -> None:
    last = row(waiting_for=WaitingFor.AGENT_READY, waiting_since=START - 50 * HOUR, next_attempt_at=START)
    assert _answer(decide(context(image=CUSTOM, agent="silent", last=last))) == ("Stop", "Undetermined", "")


@pytest.mark.parametrize(
    ("last", "ours"),
    [
        (None, False),
        (REQUESTED, True),
        (SPENT, True),
        (row(waiting_for=WaitingFor.AGENT_READY), False),
        (row(Outcome.INSTALLED, attempt=1), True),
        (row(Outcome.ALREADY_INSTALLED), False),
        (row(Outcome.FAILED, attempt=1), True),  # it reports after we gave it up
        (row(Outcome.FAILED), False),
        (row(Outcome.UNSUPPORTED), False),
    ],
)
def test_whose_extension_it_is(last: Row | None, ours: bool) -> None:
    named = last and replace(last, extension_name="Monitoring")
    decision = decide(context(extensions=[extension("Succeeded", name="monitoring")], last=named))
    assert isinstance(decision, Satisfied)
    assert decision.ours is ours
    assert decision.extension.name == "monitoring"
    assert ours or "monitoring" in decision.reason


def test_an_extension_under_another_name_than_we_requested_is_somebody_elses() -> None:
    requested = replace(REQUESTED, extension_name="OMSExtension")
    decision = decide(context(extensions=[extension("Succeeded", name="by-hand")], last=requested))
    assert isinstance(decision, Satisfied)
    assert not decision.ours


@pytest.mark.parametrize(
    ("last", "waiting_for"),
    [
        (None, WaitingFor.OPERATION),
        (REQUESTED, WaitingFor.INSTALL),
        (SPENT, WaitingFor.INSTALL),  # the worker died between the request and its record
        (row(Outcome.INSTALLED, attempt=1), WaitingFor.OPERATION),
        (row(waiting_for=WaitingFor.VM_RUNNING), WaitingFor.OPERATION),
    ],
)
def test_whose_operation_is_under_way(last: Row | None, waiting_for: WaitingFor) -> None:
    decision = decide(context(extensions=[extension("Updating")], last=last))
    assert isinstance(decision, Wait)
    assert decision.waiting_for is waiting_for


@pytest.mark.parametrize(
    ("names", "name"),
    [([], "OMSExtension"), (["omsextension"], "OmsAgentForLinux"), (["CustomScript"], "OMSExtension")],
)
def test_the_extensions_name_is_a_free_one(names: list[str], name: str) -> None:
    others = [extension("Succeeded", name=taken, type_="Other") for taken in names]
    decision = decide(context(extensions=others))
    assert isinstance(decision, Act)
    assert decision.name == name


@pytest.mark.parametrize(
    ("last", "attempt"),
    [
        (None, 1),
        (row(waiting_for=WaitingFor.AGENT_READY), 1),
        (row(waiting_for=WaitingFor.CLAIM, next_attempt_at=START, attempt=2), 3),
        (row(waiting_for=WaitingFor.INSTALL, next_attempt_at=START, attempt=2), 3),
        (row(Outcome.FAILED, attempt=5), 1),
        (row(Outcome.INSTALLED, attempt=1), 1),
    ],
)
def test_tries_are_counted_within_an_episode(last: Row | None, attempt: int) -> None:
    decision = decide(context(last=last))
    assert isinstance(decision, Act)
    assert (decision.attempt, decision.force) == (attempt, False)


@pytest.mark.parametrize(
    ("kind", "message"), [(WaitingFor.PACKAGE_MANAGER, LOCKED), (WaitingFor.SCOPE_BREAKER, WRONG_KEY)]
)
def test_a_failed_handler_is_run_again_by_force_under_its_own_name(kind: WaitingFor, message: str) -> None:
    last = row(waiting_for=kind, waiting_since=START, next_attempt_at=START, attempt=1)
    decision = decide(context(extensions=[extension("Failed", "monitoring", message)], last=last))
    assert isinstance(decision, Act)
    assert (decision.name, decision.attempt, decision.force) == ("monitoring", 2, True)


@pytest.mark.parametrize("kind", [WaitingFor.VM_RUNNING, WaitingFor.AGENT_READY, WaitingFor.PACKAGE_MANAGER])
def test_a_scheduled_check_stays(kind: WaitingFor) -> None:
    vm: dict[WaitingFor, dict[str, Any]] = {
        WaitingFor.VM_RUNNING: {"power": "deallocated"},
        WaitingFor.AGENT_READY: {"agent": "silent"},
        WaitingFor.PACKAGE_MANAGER: {"extensions": [extension("Failed", message=LOCKED)]},
    }
    last = row(waiting_for=kind, waiting_since=START - MINUTE, next_attempt_at=LATER, attempt=1)
    decision = decide(context(last=last, **vm[kind]))
    assert isinstance(decision, Wait)
    assert (decision.since, decision.until) == (START - MINUTE, LATER)


def test_a_row_that_is_held_says_what_it_said() -> None:
    problem: dict[str, Any] = {
        "error_code": "TooManyRequests",
        "error_meaning": "too many",
        "advice": "none",
        "message": "wait 60 s",
    }
    last = row(waiting_for=WaitingFor.THROTTLING, waiting_since=START, next_attempt_at=LATER, attempt=1, **problem)
    s = context(last=last)
    decision = decide(s)
    assert isinstance(decision, Wait)
    again = row_of(s, decision, OPENING)
    assert {name: getattr(again, name) for name in problem} == problem
    assert (again.reason, again.next_attempt_at) == (last.reason, LATER)


@pytest.mark.parametrize(
    ("evidence", "answer"),
    [
        (
            Evidence(
                404,
                "ResourceNotFound",
                "The Resource 'Microsoft.Compute/virtualMachines/web01' under resource group 'app-rg' was not found.",
            ),
            ("Stop", "Gone", ""),
        ),
        (Evidence(code="ServiceRequestError"), ("Wait", "platform", "ServiceRequestError")),
        (Evidence(429, "TooManyRequests"), ("Wait", "throttling", "TooManyRequests")),
        (Evidence(503, "ServerBusy"), ("Wait", "platform", "ServerBusy")),
        (Evidence(409, "AnotherOperationInProgress"), ("Wait", "operation", "AnotherOperationInProgress")),
        (
            Evidence(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running."),
            ("Wait", "vm-running", "OperationNotAllowed"),
        ),
        (Evidence(403, "AuthorizationFailed"), ("Wait", "scope-paused", "AuthorizationFailed")),
        (
            Evidence(400, "InvalidParameter", "The value of parameter typeHandlerVersion is invalid.", "typeHandler"),
            ("Stop", "Failed", "InvalidParameter"),
        ),
    ],
)
def test_what_becomes_of_a_refusal(evidence: Evidence, answer: Answer) -> None:
    decision = after_refusal(RetryState(None, Waits(), START), classify(evidence, ENTRY.errors, START), evidence.text)
    assert _answer(decision) == answer


@pytest.mark.parametrize(
    ("seconds", "until"),
    [("1", timedelta(seconds=30)), ("600", timedelta(minutes=10)), ("999999999", timedelta(hours=24))],
)
def test_a_read_is_repeated_when_arm_said_so_but_within_the_cap(seconds: str, until: timedelta) -> None:
    evidence = Evidence(429, "TooManyRequests", headers={"retry-after": seconds})
    decision = after_refusal(RetryState(None, Waits(), START), classify(evidence, ENTRY.errors, START), "")
    assert isinstance(decision, Wait)
    assert decision.until - START == until


def test_who_was_held_back_returns_at_the_moment_that_was_promised() -> None:
    evidence = Evidence(429, HELD_BACK, headers={"retry-after": "3"})
    decision = after_refusal(RetryState(None, Waits(), START), classify(evidence, ENTRY.errors, START), "")
    assert isinstance(decision, Wait)
    assert (decision.waiting_for, decision.until) == (WaitingFor.THROTTLING, START + timedelta(seconds=3))


type Step = Callable[[Row | None, datetime], tuple[DecisionContext, Decision]]


def _to_the_end(step: Step, last: Row | None = None) -> tuple[Row, set[WaitingFor]]:
    """Decide again at every check until the row is final; what we request from ARM never appears."""
    now, seen = START, set[WaitingFor]()
    for _ in range(10_000):
        s, decision = step(last, now)
        if isinstance(decision, Act):
            last = claim_of(s, decision, now + s.retry.waits[WaitingFor.CLAIM].first, OPENING)
        else:
            last = row_of(s, decision, OPENING)
        if last.next_attempt_at is None or last.waiting_for is None:
            return last, seen
        assert last.next_attempt_at > now
        seen.add(last.waiting_for)
        now = last.next_attempt_at
    raise AssertionError("it never ends")


@pytest.mark.parametrize(
    ("kind", "vm", "last", "code", "says"),
    [
        (WaitingFor.CLAIM, {}, None, "unknown", "ARM took 5 requests and the extension is still not there"),
        (
            WaitingFor.INSTALL,
            {"extensions": [extension("Creating")]},
            REQUESTED,
            "timeout",
            "the handler has not reported for too long (waited since 2026-11-20 10:00 UTC)",
        ),
        (WaitingFor.AGENT_READY, {"agent": "absent"}, None, "vm-agent-unreachable", "the guest agent has not reported"),
        (
            WaitingFor.PACKAGE_MANAGER,
            {"extensions": [extension("Failed", message=LOCKED)]},
            REQUESTED,
            "55",
            "gave up after 5 tries: ",
        ),
    ],
)
def test_every_wait_ends_in_a_row_that_says_so(
    kind: WaitingFor, vm: dict[str, Any], last: Row | None, code: str, says: str
) -> None:
    def step(before: Row | None, now: datetime) -> tuple[DecisionContext, Decision]:
        s = context(last=before, now=now, **vm)
        return s, decide(s)

    ended, seen = _to_the_end(step, last)
    assert kind in seen
    assert (ended.outcome, ended.error_code) == (Outcome.FAILED, code)
    assert says in ended.reason
    assert ended.advice


@pytest.mark.parametrize(
    ("kind", "evidence"),
    [
        (WaitingFor.THROTTLING, Evidence(429, "TooManyRequests")),
        (WaitingFor.PLATFORM, Evidence(503, "ServerBusy")),
        (WaitingFor.SCOPE_BREAKER, Evidence(403, "AuthorizationFailed")),
    ],
)
def test_every_refusal_ends_in_a_row_that_says_so(kind: WaitingFor, evidence: Evidence) -> None:
    def step(before: Row | None, now: datetime) -> tuple[DecisionContext, Decision]:
        s = context(last=before, now=now)
        return s, after_refusal(s.retry, classify(evidence, ENTRY.errors, now), evidence.text)

    ended, seen = _to_the_end(step)
    assert seen == {kind}
    assert (ended.outcome, ended.error_code) == (Outcome.FAILED, evidence.code)
    assert ended.reason.startswith("gave up: ")


SHORT = {"waits": {"vm-running": {"giveUpAfter": "2d"}, "operation": {"giveUpAfter": "2d"}}}


@pytest.mark.parametrize(
    ("kind", "vm"),
    [
        (WaitingFor.VM_RUNNING, {"power": "deallocated"}),
        (WaitingFor.OPERATION, {"extensions": [extension("Creating")]}),
        (WaitingFor.OPERATION, {"extensions": [extension("Updating", type_="Other")]}),
        (WaitingFor.OPERATION, {"state": "Updating"}),
        (WaitingFor.OPERATION, {"state": "Deleting"}),
    ],
)
@pytest.mark.parametrize("policy", [{}, SHORT])
def test_what_is_in_other_hands_is_waited_for_without_end_and_ever_more_seldom(
    kind: WaitingFor, vm: dict[str, Any], policy: dict[str, Any]
) -> None:
    now, last, checks = START, None, 0
    while now < START + timedelta(days=365):
        s = context(last=last, now=now, policy=policy, **vm)
        decision = decide(s)
        assert isinstance(decision, Wait)
        assert decision.waiting_for is kind
        last, now, checks = row_of(s, decision, OPENING), decision.until, checks + 1
    assert checks < 380


@pytest.mark.parametrize(("resend", "attempt"), [(True, 2), (False, 3)])
def test_an_unanswered_request_is_sent_again_once_as_the_same_attempt(resend: bool, attempt: int) -> None:
    s = context(last=row(waiting_for=WaitingFor.CLAIM, next_attempt_at=START, attempt=2))
    decision = decide(replace(s, retry=replace(s.retry, resend=resend)))
    assert isinstance(decision, Act)
    assert decision.attempt == attempt


@pytest.mark.parametrize("code", ["ResourceGroupBeingDeleted", "ParentResourceNotFound", "VMNotFound"])
def test_what_only_hints_at_a_deletion_is_waited_out(code: str) -> None:
    evidence = Evidence(409, code, "The VM is going away.")
    decision = after_refusal(RetryState(None, Waits(), START), classify(evidence, ENTRY.errors, START), "")
    assert isinstance(decision, Wait)
    assert decision.waiting_for is WaitingFor.OPERATION


def test_the_time_to_settle_ends_with_the_request() -> None:
    first = decide(context(**NEW))
    assert isinstance(first, Wait)
    assert first.until == START + 3 * MINUTE
    assert isinstance(decide(context(now=first.until, **NEW)), Act)


def test_requests_that_arm_never_took_are_given_up_with_its_words() -> None:
    problem: dict[str, Any] = {
        "error_code": "ServerBusy",
        "error_meaning": "ARM is busy",
        "advice": "wait",
        "message": "503",
    }
    last = row(waiting_for=WaitingFor.PLATFORM, waiting_since=START, next_attempt_at=START, attempt=5, **problem)
    decision = decide(context(last=last))
    assert isinstance(decision, Stop)
    assert decision.reason == "gave up after 5 requests: ARM is busy"
    assert decision.problem is not None
    assert (decision.problem.code, decision.problem.message) == ("ServerBusy", "503")
