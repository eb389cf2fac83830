"""What sweeps remember of what they asked for: bounded, never in the way of what is new, and at growing distances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.reconcile.drift import Finding, Reason, RowSummary
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.sweep_requests import MOST, Mark, Unanswered, last_moment, request_key
from onboarding.domain.resource_id import VmId

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
VM = VmId("s1", "app-rg", "web01")
MISSED = Finding(Reason.MISSED, "p")


def _memory(stored: bytes = b"", after: timedelta = timedelta()) -> Unanswered:
    return Unanswered(stored, NOW + after, HOUR, DAY)


@given(st.binary(), st.datetimes(timezones=st.just(UTC)))
def test_whatever_is_stored_can_be_read(stored: bytes, now: datetime) -> None:
    memory = Unanswered(stored, now, HOUR, DAY)
    memory.remember([1])
    assert Unanswered(memory.to_bytes(), now, HOUR, DAY).to_bytes() == memory.to_bytes()


def test_a_request_is_pending_for_an_hour_and_after_its_repetition_for_a_day() -> None:
    memory = _memory()
    assert not memory.pending(7)
    memory.remember([7])
    stored = memory.to_bytes()
    assert _memory(stored, HOUR - timedelta(seconds=1)).pending(7)
    second = _memory(stored, HOUR)
    assert (second.pending(7), 7 in second) == (False, True)
    second.remember([7])
    assert _memory(second.to_bytes(), DAY).pending(7)
    assert not _memory(second.to_bytes(), HOUR + DAY).pending(7)


def test_what_is_not_found_again_is_forgotten() -> None:
    memory = _memory()
    memory.remember(range(100))
    assert _memory(memory.to_bytes(), 2 * HOUR).to_bytes() == b""


def test_it_is_full_some_time() -> None:
    memory = _memory()
    fill = []
    for keys in (range(MOST - 1), [MOST]):
        memory.remember(keys)
        fill.append(memory.full)
    assert fill == [False, True]
    assert len(memory.to_bytes()) == 8 * MOST


def test_a_request_has_another_key_once_the_rows_of_its_vm_change() -> None:
    row = RowSummary("oms", Outcome.INSTALLED, "id", "OMS", NOW, "p", "a")
    changes = [
        row,
        RowSummary("oms", Outcome.FAILED, "id", "OMS", NOW, "p", "a"),
        RowSummary("oms", Outcome.INSTALLED, "id", "OMS", NOW + HOUR, "p", "a"),
        RowSummary("oms", Outcome.INSTALLED, "id", "OMS", NOW, "p", "b"),
    ]
    keys = {request_key(VM, MISSED, "id", [each]) for each in changes}
    keys |= {request_key(VM, MISSED, "id", []), request_key(VM, MISSED, "made again", [row])}
    keys |= {request_key(VM, Finding(Reason.FAILED, "p"), "id", [row])}
    assert len(keys) == 7
    again = VmId("S1", "APP-rg", "WEB01")
    assert request_key(again, MISSED, "id", [row]) == request_key(VM, MISSED, "id", [row])


@given(st.timedeltas(timedelta(0), timedelta(minutes=10)), st.timedeltas(timedelta(minutes=1), timedelta(minutes=10)))
def test_sweeps_that_come_in_time_send_a_check_twice_in_the_first_day_and_then_daily(
    offset: timedelta, every: timedelta
) -> None:
    sent, mark = 0, Mark(NOW)
    before = NOW + offset
    counts = []
    for day in range(1, 4):
        while before < NOW + day * DAY:
            if before > NOW and Mark(last_moment(NOW, before, HOUR, DAY), "vm") > mark:
                sent += 1
            mark = Mark(before)
            before += every
        counts.append(sent)
    assert counts == [2, 3, 4]


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=400)))
def test_the_moment_of_a_check_is_past_and_not_longer_ago_than_its_interval(late: timedelta) -> None:
    before = NOW + late
    moment = last_moment(NOW, before, HOUR, DAY)
    assert NOW <= moment < before
    assert before - moment <= DAY
