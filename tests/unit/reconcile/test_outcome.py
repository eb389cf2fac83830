"""Rows and the columns that they are stored in."""

from __future__ import annotations

from copy import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
ROW = Row(
    resource_id="/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v",
    vm_name="v",
    resource_group="g",
    extension="oms-agent-linux",
    outcome=Outcome.WAITING,
    reason="the VM is stopped",
    waiting_for=WaitingFor.VM_RUNNING,
    waiting_since=NOW,
    next_attempt_at=NOW,
)
COLUMNS = {
    *("Outcome", "Reason", "WaitingFor", "WaitingSince", "NextAttemptAt", "Attempt", "FinishedAt", "DurationMs"),
    *("VmId", "ResourceId", "VmName", "ResourceGroup", "Location", "Distribution", "OsVersion", "Architecture"),
    *("ImagePublisher", "ImageOffer", "ImageSku", "ImageVersion", "ImageId", "Witness", "Verdict", "SupportTable"),
    *("Extension", "ExtensionName", "ExtensionVersion", "Policy", "PolicyHash", "Effect", "RequestedAt"),
    *("ErrorCode", "ErrorMeaning", "Advice", "Message", "EventId", "EventTime", "CorrelationId"),
    *("PolicyHash", "SentDigest", "UndoneAt", "Cause", "ClientRequestId", "Step", "Steps", "TakenUp", "Was"),
    *("SatisfiedSince", "By", "EntryHash", "Update", "ProtectedDigest"),
}

_texts = st.text(max_size=20)
_times = st.none() | st.datetimes(timezones=st.just(UTC))
_strategies = {
    "str": _texts,
    "int": st.integers(min_value=0),
    "int | None": st.none() | st.integers(min_value=0),
    "datetime | None": _times,
    "Outcome": st.sampled_from(Outcome),
    "WaitingFor | None": st.none() | st.sampled_from(WaitingFor),
}
rows = st.builds(Row, **{name: _strategies[kind] for name, kind in Row.__annotations__.items()})


@given(rows)
def test_a_row_comes_back_as_it_went(row: Row) -> None:
    properties = row.to_properties()
    assert Row.from_properties(properties) == row
    assert set(properties) <= COLUMNS
    assert all(type(value) in (str, int, datetime) for value in properties.values())


def test_a_full_row_has_every_column() -> None:
    filled: dict[str, Any] = {"str": "x", "int": 1, "int | None": 1, "datetime | None": NOW}
    row = replace(ROW, **{name: filled[kind] for name, kind in Row.__annotations__.items() if kind in filled})
    row = replace(row, policy_hash="of its file.of its entry")
    assert set(row.to_properties()) == COLUMNS


def test_what_says_nothing_is_left_out() -> None:
    assert set(ROW.to_properties()) == {
        "ResourceId",
        "VmName",
        "ResourceGroup",
        "Extension",
        "Outcome",
        "Reason",
        "WaitingFor",
        "WaitingSince",
        "NextAttemptAt",
        "Attempt",
    }


def test_columns_of_another_version_are_left_alone() -> None:
    stored = {**ROW.to_properties(), "PartitionKey": "s", "RowKey": "vm|g|v", "Timestamp": NOW, "Mood": "good"}
    assert Row.from_properties(stored) == ROW


@pytest.mark.parametrize(
    ("outcome", "final", "present"),
    [
        (Outcome.REQUESTED, False, False),
        (Outcome.WAITING, False, False),
        (Outcome.INSTALLED, True, True),
        (Outcome.ALREADY_INSTALLED, True, True),
        (Outcome.UNSUPPORTED, True, False),
        (Outcome.UNDETERMINED, True, False),
        (Outcome.OUT_OF_SCOPE, True, False),
        (Outcome.AUDITED, True, False),
        (Outcome.FAILED, True, False),
        (Outcome.GONE, True, False),
    ],
)
def test_outcomes(outcome: Outcome, final: bool, present: bool) -> None:
    assert (outcome.final, outcome.present) == (final, present)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, False),
        ({"event_id": "x", "correlation_id": "x", "event_time": NOW}, False),
        ({"requested_at": NOW, "finished_at": NOW, "duration_ms": 5}, False),
        ({"outcome": Outcome.FAILED}, True),
        ({"reason": "another"}, True),
        ({"next_attempt_at": None}, True),
        ({"attempt": 1}, True),
        ({"image_sku": "16.04-LTS"}, True),
        ({"message": "more"}, True),
    ],
)
def test_times_and_event_ids_tell_nothing_new(change: dict[str, Any], differs: bool) -> None:
    assert ROW.differs(replace(ROW, **change)) is differs


def test_a_first_row_tells_everything() -> None:
    assert ROW.differs(None)
