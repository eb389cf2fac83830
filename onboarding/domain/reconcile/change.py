"""One write of ours to Azure, as a line of the history keeps it: what, when, why, by whose hand, and what it came to.

The line of an asynchronous request stands before the request is sent; ARM's answer replaces it. What the request came
to is not stored: it follows from the lines that the target got afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from msgspec import Struct

from onboarding.domain.failures.evidence import NO_TOKEN, Evidence
from onboarding.domain.json_access import digest
from onboarding.domain.limits.rate_limiter import HELD_BACK
from onboarding.domain.masking import cut, mask
from onboarding.domain.reconcile.row import SENT, Outcome, WaitingFor
from onboarding.domain.reconcile.steps.step import StepKind, StepState, from_column
from onboarding.domain.resource_id import fold_id

DONE = "Done"
"""What a change of identities or associations came to; that of an extension has the row's outcome."""
_CODE_LIMIT, _SUBJECT_LIMIT, _DIGITS = 256, 4096, 12


class Answer(StrEnum):
    """What ARM said to a write."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"  # it was sent, or was about to be, and nobody knows whether ARM has it
    NOT_SENT = "not-sent"  # it was claimed and held back, by a pause or the rate limiter or without a token

    @classmethod
    def of_error(cls, evidence: Evidence) -> Answer:
        """What an error says of a write."""
        if evidence.code == HELD_BACK or evidence.code in NO_TOKEN:
            return cls.NOT_SENT
        return cls.UNANSWERED if evidence.http_status is None else cls.REFUSED


class Change(Struct, frozen=True, kw_only=True):
    """One write. Times are UTC; an empty text is unknown or not applicable."""

    resource_id: str  # of the machine
    extension: str  # the target whose step it is
    step: str  # a `StepKind`
    subject: str = ""  # name of the extension resource, id of the rule or endpoint, or the identities that were added
    attempt: int = 0  # of an asynchronous request, from 1
    policy: str = ""
    policy_hash: str = ""
    reason: str = ""  # why it was decided, one sentence, masked
    sent_at: datetime
    client_request_id: str = ""  # by which Azure's own logs name the request
    by: str = ""  # the object id of the person who asked for it; empty: nobody did, or that is unknown
    answer: Answer = Answer.UNANSWERED
    error_code: str = ""  # of a refusal
    message: str = ""  # what ARM wrote with it, masked
    event_id: str  # of the event, check or request in whose pass it was sent
    event_time: datetime
    correlation_id: str = ""  # of the event that opened the row, as in Azure's activity log
    result: str = ""  # what it came to: `DONE` or an outcome; empty: not known yet. Not stored.
    result_code: str = ""  # the error code with which it failed after ARM accepted it. Not stored.

    @property
    def name(self) -> str:
        """What tells it from the other writes of its pass for the same target."""
        several = self.step == StepKind.ASSOCIATION
        return f"{self.step}.{digest(fold_id(self.subject))[:_DIGITS]}" if several else self.step

    def answered(self, answer: Answer, evidence: Evidence | None = None) -> Change:
        """The change with ARM's answer; `evidence` is that of a refusal."""
        if evidence is None:
            return replace(self, answer=answer)
        code, message = cut(mask(evidence.code), _CODE_LIMIT), cut(mask(evidence.message))
        return replace(self, answer=answer, error_code=code, message=message)

    def to_properties(self) -> dict[str, Any]:
        """The table's columns; empty ones are left out."""
        columns = {column: getattr(self, name) for name, column in _COLUMNS.items()}
        columns["Answer"] = self.answer.value
        columns["Subject"] = cut(self.subject, _SUBJECT_LIMIT)
        return {name: value for name, value in columns.items() if value not in ("", 0)}

    @classmethod
    def from_properties(cls, properties: dict[str, Any]) -> Self:
        """Read a stored line back. Raises ValueError, TypeError or LookupError for one that it cannot read."""
        known = {name: properties[column] for name, column in _COLUMNS.items() if properties.get(column) is not None}
        for name, value in known.items():
            kind = datetime if name in _TIMES else int if name == "attempt" else str
            if not isinstance(value, kind):
                raise ValueError(f"{_COLUMNS[name]} is {value!r}")
        known["answer"] = Answer(known["answer"])
        return cls(**known)


_TIMES = ("sent_at", "event_time")
_COLUMNS = {
    name: "".join(part.title() for part in name.split("_"))
    for name in Change.__struct_fields__
    if name not in ("result", "result_code")
}
CHANGE_COLUMNS = frozenset(_COLUMNS.values())


class HistoryLine(Struct, frozen=True):
    """What a line of a row's history says about the requests of its target."""

    resource_id: str
    extension: str
    outcome: Outcome
    waiting_for: WaitingFor | None
    error_code: str
    client_request_id: str
    steps: str
    event_time: datetime


def with_results(changes: Sequence[Change], lines: Iterable[HistoryLine]) -> list[Change]:
    """The changes of one target with what each came to, as far as the lines of its history tell."""
    in_order = sorted(lines, key=lambda line: line.event_time)
    return [_with_result(change, changes, in_order) for change in changes]


def _with_result(change: Change, changes: Sequence[Change], lines: Sequence[HistoryLine]) -> Change:
    if change.step == StepKind.ASSOCIATION:
        return replace(change, result=DONE if change.answer is Answer.ACCEPTED else "")
    again = any(_is_later_attempt(each, change) for each in changes)
    refused = change.answer is Answer.REFUSED
    if not refused and not again and any(_has_identity(line, change) for line in lines):
        return replace(change, result=DONE)
    same = [line for line in lines if line.client_request_id == change.client_request_id != ""]
    if (end := next((line for line in same if line.outcome.final), None)) is not None:
        code = "" if end.error_code == change.error_code else end.error_code
        return replace(change, result=end.outcome.value, result_code=code)
    if refused or not again:
        return change
    codes = [line.error_code for line in same if line.error_code and line.waiting_for not in SENT]
    return replace(change, result=Outcome.FAILED.value, result_code=codes[-1] if codes else "")


def _has_identity(line: HistoryLine, change: Change) -> bool:
    if change.step != StepKind.IDENTITY or line.event_time < change.event_time:
        return False
    return any(s.step is StepKind.IDENTITY and s.state is StepState.DONE for s in from_column(line.steps))


def _is_later_attempt(other: Change, change: Change) -> bool:
    same = other.step == change.step and other.sent_at > change.sent_at
    return same and other.client_request_id != change.client_request_id
