"""The gates in front of ARM: closed when it says so, and a queue where its buckets run low."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.limits.rate_limiter import Bucket, BucketSet, RateLimiter, one_resource_is_busy, remaining

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
COMPUTE = "x-ms-ratelimit-remaining-resource"
WRITES = "x-ms-ratelimit-remaining-subscription-writes"
AT_ONCE = timedelta()


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def buckets(capacity: int = 10, refill: float = 2, kept: int = 0) -> BucketSet:
    return BucketSet((Bucket("writes", capacity, refill, kept),))


def passes(bucket_set: BucketSet, count: int, now: datetime = NOW) -> int:
    return sum(bucket_set.ask(f"{now}-{number}", now) == AT_ONCE for number in range(count))


def test_an_unknown_subscription_is_not_held_back() -> None:
    assert RateLimiter().ask("s", "vm", NOW, write=True) == AT_ONCE


def test_a_bucket_lets_through_what_it_holds_but_for_what_is_kept_for_others() -> None:
    assert passes(buckets(10, kept=3), 20) == 7


def test_every_delayed_request_gets_a_moment_of_its_own() -> None:
    full = buckets(10, refill=2)
    passes(full, 10)
    waits = [full.ask(f"vm{number}", NOW).total_seconds() for number in range(4)]
    assert waits == [0.5, 1.0, 1.5, 2.0]


def test_who_asks_again_before_his_moment_keeps_it() -> None:
    full = buckets(10, refill=2)
    passes(full, 10)
    assert full.ask("early", NOW) == timedelta(seconds=0.5)
    full.ask("later", NOW)
    assert full.ask("early", after(0.2)) == timedelta(seconds=0.3)
    assert full.ask("early", after(0.5)) == AT_ONCE


def test_nobody_overtakes_who_was_promised_a_token() -> None:
    full = buckets(10, refill=2)
    passes(full, 10)
    full.ask("first", NOW)
    assert full.ask("newcomer", after(0.5)) == timedelta(seconds=0.5)
    assert full.ask("first", after(0.5)) == AT_ONCE


def test_a_token_whose_holder_never_comes_is_given_to_another() -> None:
    full = buckets(10, refill=2)
    passes(full, 10)
    full.ask("gone", NOW)
    assert passes(full, 100, after(3600)) == 10


def test_nobody_is_promised_nothing() -> None:
    full = buckets(10, refill=2)
    passes(full, 10)
    assert full.ask("", NOW) == full.ask("", NOW) == timedelta(seconds=0.5)
    assert not full.reservations


def test_a_token_is_kept_for_the_request_that_follows_in_the_same_pass() -> None:
    full = buckets(2, refill=0.001)
    assert full.reserve("vm", NOW) == AT_ONCE
    assert passes(full, 5) == 1
    assert full.ask("vm", after(5)) == AT_ONCE


def test_a_token_that_was_kept_for_nothing_is_free_again() -> None:
    full = buckets(2, refill=0.001)
    full.reserve("vm", NOW)
    full.reserve("vm", NOW)
    assert passes(full, 5) == 1
    assert passes(full, 5, after(9)) == 0
    assert passes(full, 5, after(11)) == 1


def test_a_vm_is_not_read_before_it_could_be_written() -> None:
    limiter = RateLimiter()
    writes = limiter.of("s", write=True)
    while not writes.ask("", NOW):
        pass
    wait = limiter.ask("s", "vm", NOW, write=False, to_install=True)
    assert wait > AT_ONCE
    assert limiter.ask("s", "another", NOW, write=False) == AT_ONCE
    assert limiter.ask("s", "vm", NOW + wait, write=False, to_install=True) == AT_ONCE
    assert limiter.ask("s", "vm", NOW + wait, write=True) == AT_ONCE


def test_a_write_waits_with_its_read() -> None:
    limiter = RateLimiter()
    limiter.of("s", write=False).close(NOW, 60)
    assert limiter.ask("s", "vm", NOW, write=False, to_install=True) == timedelta(seconds=60)
    assert limiter.ask("s", "vm", after(60), write=False, to_install=True) == AT_ONCE
    assert limiter.ask("s", "vm", after(60), write=True) == AT_ONCE


def test_a_closed_bucket_opens_when_arm_said_and_one_at_a_time() -> None:
    closed = buckets(10, refill=2, kept=3)
    closed.close(NOW, 60)
    waits = [closed.ask(f"vm{number}", after(20)).total_seconds() for number in range(3)]
    assert waits == [40, 40.5, 41]
    assert closed.ask("vm0", after(60)) == AT_ONCE
    assert closed.ask("vm1", after(60)) > AT_ONCE


def test_a_shorter_wait_does_not_open_a_bucket_early() -> None:
    closed = buckets()
    closed.close(NOW, 600)
    closed.close(NOW, 1)
    assert closed.ask("vm", after(2)) == timedelta(seconds=598)


def test_a_bucket_is_not_opened_by_answers_to_earlier_requests() -> None:
    closed = buckets()
    closed.close(NOW, 600)
    closed.count(after(1), {"writes": 9})
    assert closed.ask("vm", after(1)) == timedelta(seconds=599)


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_refusal_without_a_time_still_closes_the_bucket(retry_after: float | None) -> None:
    closed = buckets()
    closed.close(NOW, retry_after)
    assert closed.ask("vm", NOW) > timedelta(seconds=1)


def test_reads_writes_and_subscriptions_are_apart_whatever_their_case() -> None:
    limiter = RateLimiter()
    limiter.of("SUB", write=True).close(NOW, 60)
    assert limiter.ask("sub", "vm", NOW, write=True)
    assert not limiter.ask("sub", "vm", NOW, write=False)
    assert not limiter.ask("other", "vm", NOW, write=True)


def test_arm_is_believed_when_it_has_less_than_was_thought() -> None:
    limiter = RateLimiter()
    limiter.count("s", write=True, headers={COMPUTE: "Microsoft.Compute/UpdateVMSubscriptionMaximum;24"}, now=NOW)
    assert limiter.ask("s", "vm", NOW, write=True) > AT_ONCE


def test_arm_is_believed_when_it_has_more_than_was_thought() -> None:
    small = buckets(10)
    passes(small, 10)
    for _ in range(10):
        small.ended()
    small.count(NOW, {"writes": 500})
    assert passes(small, 1000) == 500


def test_requests_under_way_may_not_have_been_counted_yet() -> None:
    lean = buckets(10)
    passes(lean, 4)
    lean.count(NOW, {"writes": 9})  # the first of four is answered: three may come off the nine
    assert passes(lean, 20) == 6


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 9)), min_size=1, max_size=80),
    st.integers(1, 40),
    st.floats(0.5, 20),
)
def test_no_sequence_of_requests_outruns_the_bucket(
    requests: list[tuple[float, int]], capacity: int, refill: float
) -> None:
    tried, now, passed = buckets(capacity, refill), NOW, 0
    for interval, who in requests:
        now += timedelta(seconds=interval)
        passed += tried.ask(f"vm{who}", now) == AT_ONCE
    assert passed <= capacity + (now - NOW).total_seconds() * refill + 0.01


@given(st.integers(1, 60), st.integers(1, 40), st.floats(0.5, 20), st.integers(0, 5))
def test_every_reservation_is_kept_in_the_order_in_which_it_was_given(
    requests: int, room: int, refill: float, kept: int
) -> None:
    tried = buckets(kept + room, refill, kept)
    waits = {f"vm{number}": tried.ask(f"vm{number}", NOW) for number in range(requests)}
    held = {who: wait for who, wait in waits.items() if wait}
    assert list(held.values()) == sorted(held.values())
    for who, wait in held.items():
        assert tried.ask(who, NOW + wait) == AT_ONCE


@given(st.dictionaries(st.sampled_from([COMPUTE, WRITES, "other"]), st.text()))
@example({WRITES: "0\x1f", COMPUTE: "a;0\x1f"})
@example({WRITES: "9" * 5_000, COMPUTE: f"a;{'9' * 5_000}"})
def test_counters_are_read_from_anything(headers: Mapping[str, str]) -> None:
    assert all(count >= 0 for count in remaining(headers).values())


def test_counters_are_read_from_the_real_form() -> None:
    text = "Microsoft.Compute/UpdateVMResource;11,Microsoft.Compute/UpdateVMSubscriptionMaximum;1499"
    assert remaining({COMPUTE: text, WRITES: "199"}) == {
        "updatevmresource": 11,
        "updatevmsubscriptionmaximum": 1499,
        "writes": 199,
    }


def test_what_is_known_of_nobody_is_not_kept() -> None:
    limiter = RateLimiter()
    for number in range(5_000):
        now = after(number)
        limiter.ask(f"s{number}", "vm", now, write=True)
        limiter.of(f"s{number}", write=True).ended()
    assert len(limiter.bucket_sets) < 600


def test_a_bucket_set_that_is_closed_or_reserved_or_in_use_is_kept() -> None:
    limiter = RateLimiter()
    limiter.ask("closed", "vm", NOW, write=True)
    limiter.of("closed", write=True).ended()
    limiter.of("closed", write=True).close(NOW, 3_600)
    limiter.ask("reserved", "vm", NOW, write=False)
    limiter.of("reserved", write=False).ended()
    limiter.of("reserved", write=False).reserve("vm", NOW, timedelta(hours=1))
    limiter.ask("in use", "vm", NOW, write=True)
    for number in range(2_000):
        limiter.ask(f"s{number}", "vm", after(60 + number / 10), write=False)
        limiter.of(f"s{number}", write=False).ended()

    assert limiter.ask("closed", "vm", after(300), write=True) == timedelta(seconds=3_300)
    assert limiter.of("reserved", write=False).reservations
    assert limiter.of("in use", write=True).under_way == 1


RESOURCE = "Microsoft.Compute/UpdateVMSubscriptionMaximum;{},Microsoft.Compute/UpdateVMResource;{}"


@pytest.mark.parametrize(
    ("headers", "text", "alone"),
    [
        ({COMPUTE: RESOURCE.format(1_400, 0)}, "", True),
        ({COMPUTE: RESOURCE.format(1_400, 0), WRITES: "0"}, "", False),
        ({COMPUTE: RESOURCE.format(0, 0)}, "", False),
        ({COMPUTE: RESOURCE.format(0, 5)}, "", False),
        ({COMPUTE: RESOURCE.format(1_400, 0), "retry-after": "60"}, "", False),
        ({COMPUTE: "Microsoft.Compute/UpdateVMResource;0"}, "", False),
        ({}, "", False),
        ({}, "Cannot acquire exclusive lock to create or update this resource.", True),
        ({}, "Number of requests exceeded. Please try again after 5 minutes.", False),
    ],
)
def test_only_what_is_surely_one_resource_s_own_leaves_the_others_alone(
    headers: dict[str, str], text: str, alone: bool
) -> None:
    assert one_resource_is_busy(Evidence(429, "TooManyRequests", text, headers=headers)) is alone
