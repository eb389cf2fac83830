"""The gates in front of ARM: closed when it says so, paced when its counters run low."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.core.rate import Gate, Gates, remaining

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
HEADER = "x-ms-ratelimit-remaining-resource"


def test_an_unknown_subscription_is_not_held_back() -> None:
    assert Gates().of("s", write=True).wait(NOW) == timedelta()


def test_a_closed_gate_opens_when_arm_said() -> None:
    gate = Gates().of("s", write=True)
    gate.close(NOW, 60)
    waits = [gate.wait(NOW + timedelta(seconds=20)) for _ in range(3)]
    assert waits[0] == timedelta(seconds=40)
    assert waits[0] < waits[1] < waits[2] < timedelta(seconds=41)
    assert gate.wait(NOW + timedelta(seconds=60)) == timedelta()


def test_a_shorter_pause_does_not_open_a_gate_early() -> None:
    gate = Gates().of("s", write=True)
    gate.close(NOW, 600)
    gate.close(NOW, 1)
    assert gate.wait(NOW + timedelta(seconds=2)) == timedelta(seconds=598)


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_refusal_without_a_time_still_closes_the_gate(retry_after: float | None) -> None:
    gate = Gates().of("s", write=False)
    gate.close(NOW, retry_after)
    assert gate.wait(NOW) > timedelta(seconds=1)


def test_reads_writes_and_subscriptions_are_apart_whatever_their_case() -> None:
    gates = Gates()
    gates.of("SUB", write=True).close(NOW, 60)
    assert gates.of("sub", write=True).wait(NOW)
    assert not gates.of("sub", write=False).wait(NOW)
    assert not gates.of("other", write=True).wait(NOW)


def test_few_tokens_left_give_every_request_a_slot_of_its_own_at_the_refill_rate() -> None:
    gates = Gates()
    gates.answered("s", write=True, headers={HEADER: "Microsoft.Compute/UpdateVMSubscriptionMaximum;25"}, now=NOW)
    waits = [gates.of("s", write=True).wait(NOW).total_seconds() for _ in range(100)]
    steps = [later - earlier for earlier, later in itertools.pairwise(waits)]
    assert waits[0] > 0
    assert all(step == pytest.approx(60 / 500, abs=1e-5) for step in steps)


def test_a_full_bucket_lets_through_what_it_holds_and_no_more() -> None:
    gates = Gates()
    gates.answered("s", write=True, headers={HEADER: "Microsoft.Compute/UpdateVMSubscriptionMaximum;125"}, now=NOW)
    passed = sum(not gates.of("s", write=True).wait(NOW) for _ in range(300))
    assert passed == 100


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_sequence_of_requests_outruns_the_bucket(pauses: list[float]) -> None:
    gate, now, passed = Gate("updatevm"), NOW, 0
    gate.saw(NOW, 30)
    for pause in pauses:
        now += timedelta(seconds=pause)
        passed += not gate.wait(now)
    assert passed <= 30 + (now - NOW).total_seconds() * 500 / 60


@given(st.dictionaries(st.sampled_from([HEADER, HEADER.title(), "other"]), st.text()))
def test_counters_are_read_from_anything(headers: dict[str, str]) -> None:
    assert all(count >= 0 for count in remaining(headers).values())


def test_counters_are_read_from_the_real_form() -> None:
    text = "Microsoft.Compute/UpdateVMResource;11,Microsoft.Compute/UpdateVMSubscriptionMaximum;1499"
    assert remaining({HEADER: text}) == {"updatevmresource": 11, "updatevmsubscriptionmaximum": 1499}
