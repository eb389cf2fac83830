"""The simulated Event Grid as an endpoint sees it. A simulated day takes less than a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.clock import Clock
from simulator.eventgrid import (
    DeadLetters,
    EndpointType,
    EventFilter,
    EventGrid,
    EventSchema,
    Faults,
    HandshakeFailed,
    Options,
    RetryPolicy,
    StringIn,
    Subscription,
)
from simulator.host_process import FunctionsHost
from tests.host.conftest import Client, eventually
from tests.host.hook import Hook

FAST = Clock(200_000)
BOTH = pytest.mark.parametrize("schema", [*EventSchema])


def event(number: str, subject: str = "/subscriptions/s/vm", operation: str = "write") -> dict[str, Any]:
    return {
        "id": number,
        "topic": "/subscriptions/s",
        "subject": subject,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": "2026-11-20T10:00:00.1234567Z",
        "data": {"operationName": operation},
        "dataVersion": "2",
        "metadataVersion": "1",
    }


async def test_the_event_grid_schema_is_an_array_of_one_with_azures_headers() -> None:
    async with Hook() as hook, EventGrid(FAST) as grid:
        await grid.subscribe(Subscription("onboarding", hook.url))
        grid.publish(event("1"))
        await grid.idle()
        ((headers, body),) = hook.requests
    assert body == [event("1")]
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert {name: value for name, value in headers.items() if name.startswith("aeg-")} == {
        "aeg-event-type": "Notification",
        "aeg-subscription-name": "ONBOARDING",
        "aeg-delivery-count": "0",
        "aeg-data-version": "2",
        "aeg-metadata-version": "1",
    }


async def test_a_cloud_event_is_one_object_under_other_names() -> None:
    async with Hook() as hook, EventGrid(FAST) as grid:
        await grid.subscribe(Subscription("onboarding", hook.url, EventSchema.CLOUD_EVENTS))
        grid.publish(event("1"))
        await grid.idle()
        ((headers, body),) = hook.requests
    assert body == {
        "id": "1",
        "source": "/subscriptions/s",
        "subject": "/subscriptions/s/vm",
        "type": "Microsoft.Resources.ResourceWriteSuccess",
        "time": "2026-11-20T10:00:00.1234567Z",
        "data": {"operationName": "write"},
        "specversion": "1.0",
    }
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["aeg-event-type"] == "Notification"


@BOTH
async def test_the_host_takes_the_handshake_and_the_events(
    host: FunctionsHost, client: Client, schema: EventSchema
) -> None:
    name = f"from-grid-{schema}"
    async with EventGrid(FAST) as grid:
        await grid.subscribe(Subscription(name, host.event_grid_endpoint("on_event"), schema))
        grid.publish(event(name))
        await grid.idle()
        assert grid.counters.delivered == 1
    assert name in [entry["event"]["id"] for entry in await client.seen("on_event")]


async def test_cloud_events_to_a_web_hook_ask_for_permission_first() -> None:
    to = {"schema": EventSchema.CLOUD_EVENTS, "endpoint_type": EndpointType.WEB_HOOK}
    async with Hook() as hook, EventGrid(FAST) as grid:
        await grid.subscribe(Subscription("hook", hook.url, **to))  # type: ignore[arg-type]
        assert [headers["WebHook-Request-Origin"] for headers, _ in hook.handshakes] == ["eventgrid.azure.net"]


@BOTH
async def test_an_endpoint_that_does_not_prove_itself_is_refused(host: FunctionsHost, schema: EventSchema) -> None:
    async with EventGrid(FAST) as grid:
        with pytest.raises(HandshakeFailed, match="cannot find function: 'nobody'"):
            await grid.subscribe(Subscription("wrong", host.event_grid_endpoint("nobody"), schema))
        with pytest.raises(HandshakeFailed, match="SocketError"):
            await grid.subscribe(Subscription("gone", "http://127.0.0.1:1/", schema))


async def test_a_failed_delivery_is_tried_again_until_it_is_accepted() -> None:
    async with Hook([500, 503, 404]) as hook, EventGrid(FAST) as grid:
        await grid.subscribe(Subscription("s", hook.url))
        grid.publish(event("1"))
        await grid.idle()
        assert [headers["aeg-delivery-count"] for headers, _ in hook.requests] == ["0", "1", "2", "3"]
        assert (grid.counters.delivered, grid.counters.retried) == (1, 3)


async def test_an_answer_that_is_too_late_is_a_failure() -> None:
    async with Hook(slow=0.2) as hook, EventGrid(FAST, options=Options(answer_timeout=0.05)) as grid:
        await grid.subscribe(Subscription("s", hook.url, retry=RetryPolicy(max_delivery_attempts=2)))
        grid.publish(event("1"))
        await grid.idle()
        assert len(hook.requests) == 2
        assert grid.counters.dropped == 1


@BOTH
async def test_an_event_that_is_given_up_becomes_a_dead_letter(tmp_path: Path, schema: EventSchema) -> None:
    async with Hook([500] * 9) as hook, EventGrid(FAST, options=Options(dead_letters=tmp_path)) as grid:
        await grid.subscribe(Subscription("Onboarding", hook.url, schema, retry=RetryPolicy(max_delivery_attempts=3)))
        grid.publish(event("1"))
        await grid.idle()
        assert (len(hook.requests), grid.counters.dead_lettered, grid.counters.delivered) == (3, 1, 0)
    (letter,) = DeadLetters(tmp_path).read()
    properties = {name.lower(): value for name, value in letter.items()}
    assert properties["deadletterreason"] == "MaxDeliveryAttemptsExceeded"
    assert properties["deliveryattempts"] == 3
    assert properties["lastdeliveryoutcome"] == "GenericError"
    assert properties["publishtime"] <= properties["lastdeliveryattempttime"]
    assert letter["id"] == "1"
    assert ("deadLetterReason" in letter) == (schema is EventSchema.EVENT_GRID)
    assert ("specversion" in letter) == (schema is EventSchema.CLOUD_EVENTS)
    (path,) = DeadLetters(tmp_path).files()
    subscription, year, _month, _day, _hour, _file = path.relative_to(tmp_path).parts
    assert (subscription, year) == ("ONBOARDING", properties["lastdeliveryattempttime"][:4])


@pytest.mark.parametrize(
    ("status", "kind", "attempts"),
    [
        (400, EndpointType.AZURE_FUNCTION, 1),
        (403, EndpointType.AZURE_FUNCTION, 1),
        (413, EndpointType.AZURE_FUNCTION, 1),
        (401, EndpointType.WEB_HOOK, 1),
        (401, EndpointType.AZURE_FUNCTION, 2),
        (404, EndpointType.WEB_HOOK, 2),
        (302, EndpointType.WEB_HOOK, 2),
        (205, EndpointType.WEB_HOOK, 2),
    ],
)
async def test_some_answers_are_final(tmp_path: Path, status: int, kind: EndpointType, attempts: int) -> None:
    async with Hook([status]) as hook, EventGrid(FAST, options=Options(dead_letters=tmp_path)) as grid:
        await grid.subscribe(Subscription("s", hook.url, endpoint_type=kind))
        grid.publish(event("1"))
        await grid.idle()
        assert len(hook.requests) == attempts
        assert grid.counters.dead_lettered == (attempts == 1)


async def test_an_event_that_outlives_its_time_is_given_up_when_it_is_due(tmp_path: Path) -> None:
    policy = RetryPolicy(event_time_to_live_minutes=60)
    async with Hook([500] * 30) as hook, EventGrid(FAST, options=Options(dead_letters=tmp_path)) as grid:
        await grid.subscribe(Subscription("s", hook.url, retry=policy))
        grid.publish(event("1"))
        await grid.idle()
    (letter,) = DeadLetters(tmp_path).read()
    assert letter["deadLetterReason"] == "TimeToLiveExceeded"
    assert letter["deliveryAttempts"] < 10


async def test_an_event_without_a_dead_letter_destination_is_dropped() -> None:
    async with Hook([400]) as hook, EventGrid(FAST) as grid:
        await grid.subscribe(Subscription("s", hook.url))
        grid.publish(event("1"))
        await grid.idle()
        assert (grid.counters.dropped, grid.counters.dead_lettered) == (1, 0)


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (EventFilter(), "123"),
        (EventFilter(subject_begins_with="/SUBSCRIPTIONS/s/v"), "13"),
        (EventFilter(subject_begins_with="/SUBSCRIPTIONS", is_subject_case_sensitive=True), ""),
        (EventFilter(subject_ends_with="disk"), "2"),
        (EventFilter(included_event_types=("microsoft.resources.resourcewritesuccess",)), "123"),
        (EventFilter(included_event_types=("Microsoft.Resources.ResourceDeleteSuccess",)), ""),
        (EventFilter(advanced=(StringIn("Data.OperationName", ("DELETE", "other")),)), "3"),
        (EventFilter(advanced=(StringIn("data.missing", ("write",)),)), ""),
        (EventFilter(advanced=(StringIn("subject.deeper", ("write",)),)), ""),
    ],
)
async def test_a_subscription_gets_the_events_that_its_filter_selects(wanted: EventFilter, ids: str) -> None:
    async with Hook() as hook, EventGrid(FAST) as grid:
        await grid.subscribe(Subscription("s", hook.url, filter=wanted))
        grid.publish(event("1"))
        grid.publish(event("2", subject="/subscriptions/s/disk"))
        grid.publish(event("3", operation="delete"))
        await grid.idle()
        assert sorted(e["id"] for e in hook.events) == [*ids]


async def faulty(faults: Faults, seed: int, count: int = 60) -> tuple[list[str], EventGrid]:
    options = Options(faults=faults)
    async with Hook() as hook, EventGrid(Clock(1000), seed, options) as grid:
        await grid.subscribe(Subscription("s", hook.url))
        for number in range(count):
            grid.publish(event(f"{number}", subject=f"/vm/{number}"))
        await grid.idle()
        return [e["id"] for e in hook.events], grid


async def test_duplicates_and_losses_follow_the_seed() -> None:
    faults = Faults(duplicate=0.3, lose=0.2)
    first, grid = await faulty(faults, seed=7)
    again, _ = await faulty(faults, seed=7)
    other, _ = await faulty(faults, seed=8)
    assert sorted(first) == sorted(again) != sorted(other)
    counters = grid.counters
    assert counters.lost > 0
    assert counters.duplicated > 0
    assert len(first) == counters.delivered == 60 - counters.lost + counters.duplicated
    assert len(set(first)) == 60 - counters.lost


async def test_jitter_reorders() -> None:
    received, _ = await faulty(Faults(jitter=200), seed=1)
    assert received != sorted(received, key=int)
    assert sorted(received, key=int) == [str(number) for number in range(60)]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"duplicate": 2}, "share between 0 and 1"),
        ({"jitter": -1}, "0 or more"),
        ({"explode": 1}, r"eventGrid\.explode: not a fault"),
        ({"lose": "often"}, r"eventGrid\.lose: must be a number"),
    ],
)
def test_a_bad_fault_script_names_the_place(script: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults.parse(script)


async def test_concurrent_deliveries_are_bounded_and_waiting_events_form_batches() -> None:
    options = Options(max_concurrent_deliveries=3)
    async with Hook(slow=0.02) as hook, EventGrid(FAST, options=options) as grid:
        await grid.subscribe(Subscription("s", hook.url, EventSchema.CLOUD_EVENTS, max_events_per_batch=10))
        for number in range(33):
            grid.publish(event(f"{number}"))
        await grid.idle()
        assert hook.most_at_once <= 3
        assert sorted(int(e["id"]) for e in hook.events) == [*range(33)]
        assert max(len(body) for _, body in hook.requests) == 10
        assert hook.requests[0][0]["content-type"] == "application/cloudevents-batch+json; charset=utf-8"


async def test_a_failing_endpoint_delays_new_events() -> None:
    async with Hook([404]) as hook, EventGrid(Clock(1000)) as grid:
        await grid.subscribe(Subscription("s", hook.url))
        grid.publish(event("first"))
        await eventually(hook.answered)
        grid.publish(event("second"))
        await FAST.sleep(10_000)
        assert [e["id"] for e in hook.events] == ["first"]
        await grid.idle()
        assert {e["id"] for e in hook.events} == {"first", "second"}


async def test_after_unsubscribing_nothing_comes() -> None:
    async with Hook() as hook, EventGrid(FAST) as grid:
        await grid.subscribe(Subscription("s", hook.url))
        grid.unsubscribe("s")
        grid.publish(event("1"))
        await grid.idle()
        assert (hook.events, grid.counters.published) == ([], 1)
