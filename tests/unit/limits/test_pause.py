"""Pauses as values: what they cover, how long a machine waits, and how they are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.limits.pause import KNOWN_AFTER, PAUSE_COLUMNS, Pause, covering
from onboarding.domain.reconcile.decision import RetryState, Wait
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.wait_schedule import Waits
from onboarding.domain.resource_id import VmId

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
SUBSCRIPTION = "11112222-3333-4444-5555-666677778888"
VM = VmId(SUBSCRIPTION, "app-rg", "web01")
PERSON = "0a1b2c3d-0000-4000-8000-00000000000f"
DAY = timedelta(days=1)
MOST_SHARE = timedelta(minutes=10)

_EARLIEST, _LATEST = (NOW.replace(year=year, tzinfo=None) for year in (2020, 2090))
times = st.datetimes(_EARLIEST, _LATEST, timezones=st.just(UTC))


def pause(**changes: Any) -> Pause:
    return Pause(**{"reason": "because", "since": NOW, **changes})


def wait_of(pause: Pause, now: datetime = NOW, last: Row | None = None, *, checks: bool = False) -> Wait:
    return pause.wait(VM, RetryState(last, Waits(), now, checks=checks))


def row(wait: Wait) -> Row:
    return Row(
        resource_id=str(VM),
        vm_name=VM.name,
        resource_group=VM.resource_group,
        extension="e",
        outcome=Outcome.WAITING,
        reason=wait.reason,
        waiting_for=wait.waiting_for,
        waiting_since=wait.since,
        next_attempt_at=wait.until,
    )


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ({}, True),
        ({"subscription": SUBSCRIPTION}, True),
        ({"subscription": "another"}, False),
        ({"policy": "p"}, True),
        ({"policy": "q"}, False),
        ({"policy": "P"}, False),
        ({"subscription": SUBSCRIPTION, "policy": "p"}, True),
        ({"subscription": SUBSCRIPTION, "policy": "q"}, False),
        ({"subscription": "another", "policy": "p"}, False),
    ],
)
def test_a_pause_covers_its_subscription_and_its_policy(scope: dict[str, str], covered: bool) -> None:
    assert pause(**scope).covers(SUBSCRIPTION.upper(), ("p", "other")) == covered


def test_of_several_the_one_that_ends_last_counts() -> None:
    early, late, open_end = pause(until=NOW + DAY), pause(until=NOW + 2 * DAY), pause(policy="p")
    assert covering([early, late], SUBSCRIPTION, ("p",), NOW) == late
    assert covering([open_end, early, late], SUBSCRIPTION, ("p",), NOW) == open_end
    assert covering([open_end, early, late], SUBSCRIPTION, ("q",), NOW) == late
    assert covering([early], SUBSCRIPTION, ("p",), NOW + DAY) is None, "it ends at its moment"
    assert covering([], SUBSCRIPTION, ("p",), NOW) is None


def test_without_an_end_a_machine_is_checked_daily_and_never_gives_up() -> None:
    now, last = NOW, None
    for _ in range(400):
        wait = wait_of(pause(), now, last, checks=True)
        assert wait.waiting_for is WaitingFor.PAUSED
        assert DAY <= wait.until - now <= DAY + MOST_SHARE
        assert wait.since == NOW
        now, last = wait.until, row(wait)


@given(after=st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=40)))
def test_a_machine_is_checked_soon_after_the_end_and_never_so_early_that_a_worker_may_not_know(
    after: timedelta,
) -> None:
    wait = wait_of(pause(until=NOW + after))
    assert wait.until <= NOW + DAY + MOST_SHARE
    if wait.until < NOW + DAY:
        assert KNOWN_AFTER <= wait.until - (NOW + after) <= KNOWN_AFTER + MOST_SHARE


def test_a_worker_whose_clock_is_behind_does_not_check_at_once() -> None:
    ended = pause(until=NOW - timedelta(seconds=3))
    assert wait_of(ended).until >= NOW + KNOWN_AFTER


def test_a_row_says_what_is_paused_since_when_and_why() -> None:
    assert str(pause()) == "everything is paused since 2026-11-20 10:00 UTC: because"
    both = pause(subscription=SUBSCRIPTION, policy="p", until=NOW + DAY)
    since = "since 2026-11-20 10:00 UTC until 2026-11-21 10:00 UTC"
    assert str(both) == f"policy p in subscription {SUBSCRIPTION} is paused {since}: because"
    assert str(pause(subscription=SUBSCRIPTION)).startswith(f"subscription {SUBSCRIPTION} is paused")
    assert str(pause(policy="p")).startswith("policy p is paused")


@given(
    st.builds(
        Pause,
        reason=st.text(min_size=1, max_size=50).filter(str.strip),
        since=times,
        until=st.none() | times,
        subscription=st.sampled_from(["", SUBSCRIPTION]),
        policy=st.text(max_size=20),
        by=st.sampled_from(["", PERSON]),
    )
)
def test_what_is_stored_is_read_back(pause: Pause) -> None:
    columns = pause.to_properties()
    assert set(columns) <= PAUSE_COLUMNS
    assert Pause.from_properties(columns) == pause


_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9) | times


@given(st.dictionaries(st.sampled_from(sorted(PAUSE_COLUMNS)) | st.text(max_size=5), _VALUES))
def test_what_cannot_be_read_never_makes_a_pause_narrower(columns: dict[str, Any]) -> None:
    read = Pause.from_properties(columns)
    assert read.reason
    if not isinstance(columns.get("Policy"), str) and not isinstance(columns.get("Subscription"), str):
        assert read.covers(SUBSCRIPTION, ())
    if not isinstance(columns.get("Until"), datetime):
        assert read.active(datetime.max.replace(tzinfo=UTC))


def test_a_secret_in_a_reason_and_a_persons_name_are_not_stored() -> None:
    key = "bm90IGEgcmVhbCB3b3Jrc3BhY2Uga2V5LCBvbmx5IDY0IGJ5dGVzIG9mIHRleHQgZm9yIHRoZSB0ZXN0cyBvZiB0aGlzISE="
    columns = pause(reason=f"wrong key {key} " + "x" * 5000, by="jane@example.com").to_properties()
    assert key not in columns["Reason"]
    assert len(columns["Reason"]) <= 500
    assert "By" not in columns
