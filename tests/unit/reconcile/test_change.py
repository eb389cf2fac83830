"""A line of the history for one write: its columns, its name, ARM's answer, and what it came to."""

from __future__ import annotations

from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.failures.evidence import TOKEN_UNAVAILABLE, Evidence
from onboarding.domain.limits.rate_limiter import HELD_BACK
from onboarding.domain.reconcile.change import CHANGE_COLUMNS, Answer, Change, HistoryLine, with_results
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.step import StepKind, StepResult, StepState, to_column

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
VM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web01"
CHANGE = Change(
    resource_id=VM,
    extension="oms",
    step="extension",
    sent_at=NOW,
    client_request_id="first",
    answer=Answer.ACCEPTED,
    event_id="event-1",
    event_time=NOW,
)

_texts = st.text(max_size=20)
_times = st.datetimes(timezones=st.just(UTC))
_of_field = {"sent_at": _times, "event_time": _times, "answer": st.sampled_from(Answer), "attempt": st.integers(0, 9)}
_derived = {"result", "result_code"}
changes = st.builds(
    Change, **{name: _of_field.get(name, _texts) for name in Change.__struct_fields__ if name not in _derived}
)


def line(outcome: Outcome, minutes: int = 1, request: str = "first", **more: Any) -> HistoryLine:
    usual: dict[str, Any] = {"waiting_for": None, "error_code": "", "steps": ""}
    time = NOW + timedelta(minutes=minutes)
    named = {"resource_id": VM, "extension": "oms", "client_request_id": request, "event_time": time}
    return HistoryLine(outcome=outcome, **{**named, **usual, **more})


@given(changes)
def test_a_change_comes_back_as_it_went(change: Change) -> None:
    stored = change.to_properties()
    needed = {"resource_id": "ResourceId", "extension": "Extension", "step": "Step", "event_id": "EventId"}
    assert set(stored) <= CHANGE_COLUMNS
    if all(getattr(change, name) for name in (*needed, "client_request_id")):
        assert Change.from_properties(stored) == change


@pytest.mark.parametrize(
    "wrong", [{"SentAt": "yesterday"}, {"Answer": "shrugged"}, {"Attempt": "1"}, {"Step": None}, {"Subject": 1}]
)
def test_a_line_that_cannot_be_read_is_an_error_of_its_value(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        Change.from_properties({**CHANGE.to_properties(), **wrong})


def test_associations_of_a_pass_have_names_of_their_own_in_any_spelling() -> None:
    rules = [replace(CHANGE, step="association", subject=subject) for subject in ("/R/One", "/r/one/", "/r/two")]
    first, same, other = (rule.name for rule in rules)
    assert first == same != other
    assert first.startswith("association.")
    assert CHANGE.name == "extension"


@pytest.mark.parametrize(
    ("evidence", "answer"),
    [
        (Evidence(http_status=409, code="Conflict"), Answer.REFUSED),
        (Evidence(http_status=503, code="ServerBusy"), Answer.REFUSED),
        (Evidence(http_status=429, code=HELD_BACK), Answer.NOT_SENT),
        (Evidence(code="ServiceResponseError"), Answer.UNANSWERED),
        (Evidence(code=TOKEN_UNAVAILABLE), Answer.NOT_SENT),
    ],
)
def test_what_an_error_says_of_a_write(evidence: Evidence, answer: Answer) -> None:
    assert Answer.of_error(evidence) is answer


def test_the_words_of_a_refusal_are_masked() -> None:
    refused = CHANGE.answered(Answer.REFUSED, Evidence(400, "Bad", 'no: {"workspaceKey": "aGVsbG8gd29ybGQgdGhpcw=="}'))
    assert "aGVsbG8" not in refused.message


IDENTITY = replace(CHANGE, step="identity")
DONE_STEP = to_column([StepResult(StepKind.IDENTITY, StepState.DONE, "system")])
OPEN_STEP = to_column([StepResult(StepKind.IDENTITY, StepState.REQUESTED, "system")])
ATTEMPT_2 = replace(CHANGE, client_request_id="second", sent_at=NOW + timedelta(minutes=5))
REQUESTED = line(Outcome.REQUESTED, 0, waiting_for=WaitingFor.INSTALL)
LOCKED = line(Outcome.WAITING, 2, error_code="lock", waiting_for=WaitingFor.PACKAGE_MANAGER)


@pytest.mark.parametrize(
    ("change", "others", "lines", "result"),
    [
        (CHANGE, [], [REQUESTED], ("", "")),
        (CHANGE, [], [line(Outcome.GONE, 9), line(Outcome.INSTALLED, 3), REQUESTED], ("Installed", "")),
        (CHANGE, [], [line(Outcome.FAILED, error_code="51")], ("Failed", "51")),
        (CHANGE, [], [line(Outcome.INSTALLED, request="second")], ("", "")),
        (CHANGE, [], [LOCKED], ("", "")),
        (CHANGE, [ATTEMPT_2], [LOCKED, line(Outcome.INSTALLED, 7, "second")], ("Failed", "lock")),
        (replace(CHANGE, client_request_id=""), [], [line(Outcome.INSTALLED, request="")], ("", "")),
        (replace(CHANGE, answer=Answer.UNANSWERED), [], [line(Outcome.INSTALLED)], ("Installed", "")),
        (
            replace(CHANGE, answer=Answer.REFUSED, error_code="No"),
            [],
            [line(Outcome.FAILED, error_code="No")],
            ("Failed", ""),
        ),
        (replace(CHANGE, answer=Answer.REFUSED), [ATTEMPT_2], [], ("", "")),
        (IDENTITY, [], [line(Outcome.REQUESTED, request="second", steps=DONE_STEP)], ("Done", "")),
        (IDENTITY, [], [line(Outcome.REQUESTED, -1, request="second", steps=DONE_STEP)], ("", "")),
        (IDENTITY, [], [line(Outcome.REQUESTED, steps=OPEN_STEP)], ("", "")),
        (replace(IDENTITY, answer=Answer.REFUSED), [], [line(Outcome.REQUESTED, steps=DONE_STEP)], ("", "")),
        (
            IDENTITY,
            [replace(ATTEMPT_2, step="identity")],
            [line(Outcome.REQUESTED, 9, "third", steps=DONE_STEP)],
            ("Failed", ""),
        ),
        (replace(CHANGE, step="association"), [], [], ("Done", "")),
        (replace(CHANGE, step="association", answer=Answer.REFUSED), [], [], ("", "")),
    ],
)
def test_what_a_change_came_to(
    change: Change, others: list[Change], lines: list[HistoryLine], result: tuple[str, str]
) -> None:
    found = with_results([change, *others], lines)[0]
    assert (found.result, found.result_code) == result
