"""Event Grid's schedule, answer by answer."""

from __future__ import annotations

import pytest

from simulator.eventgrid import EndpointType, RetryPolicy, Subscription
from simulator.eventgrid.retry import TIMED_OUT, UNREACHABLE, answer, delay, probation

MINUTE, HOUR = 60, 3600


def test_the_retry_schedule_is_azures_and_then_every_twelve_hours() -> None:
    waits = [delay(attempt, answer(500), EndpointType.AZURE_FUNCTION) for attempt in range(1, 13)]
    steps = [10, 30, MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR]
    assert waits == [*steps, 12 * HOUR, 12 * HOUR]


@pytest.mark.parametrize(("status", "least"), [(404, 5 * MINUTE), (408, 2 * MINUTE), (503, 30), (500, 10), (429, 10)])
def test_some_answers_delay_the_first_retry(status: int, least: int) -> None:
    assert delay(1, answer(status), EndpointType.WEB_HOOK) == least
    assert delay(7, answer(status), EndpointType.WEB_HOOK) == HOUR


@pytest.mark.parametrize("failed", [TIMED_OUT, UNREACHABLE])
def test_a_missing_answer_is_retried(failed: object) -> None:
    assert delay(1, failed, EndpointType.WEB_HOOK) == 10  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204])
def test_these_answers_are_success(status: int) -> None:
    assert answer(status).accepted


@pytest.mark.parametrize("status", [205, 206, 301, 304, 400, 500])
def test_no_others_are(status: int) -> None:
    assert not answer(status).accepted


def test_probation_is_for_failing_endpoints_not_for_failed_functions() -> None:
    assert (probation(answer(500)), probation(answer(404)), probation(UNREACHABLE)) == (0, 5 * MINUTE, 30)


@pytest.mark.parametrize("policy", [{"max_delivery_attempts": 31}, {"event_time_to_live_minutes": 0}])
def test_a_policy_keeps_to_azures_limits(policy: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 1 to"):
        RetryPolicy(**policy)


def test_a_subscription_does_not_show_its_endpoint() -> None:
    subscription = Subscription("s", "https://localhost/?code=secret")
    assert "secret" not in repr(subscription)
    with pytest.raises(ValueError, match="1 to 5000"):
        Subscription("s", "", max_events_per_batch=0)
