"""The Event Grid webhook of the host, used over HTTP."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.host.conftest import Client

CODE = "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"


def event(number: str, **data: Any) -> dict[str, Any]:
    return {
        "id": number,
        "topic": "/subscriptions/s",
        "subject": "/subscriptions/s/resourceGroups/rg",
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": "2026-11-20T10:00:00.1234567Z",
        "data": data,
        "dataVersion": "2",
        "metadataVersion": "1",
    }


async def seen_ids(client: Client, function: str) -> list[str]:
    return [entry["event"]["id"] for entry in await client.seen(function)]


async def test_an_array_of_one_is_accepted_and_arrives_whole(client: Client) -> None:
    sent = event("whole")
    assert await client.notify("on_event", [sent]) == (202, "")
    assert sent in [entry["event"] for entry in await client.seen("on_event")]


async def test_a_cloud_event_is_one_object_and_keeps_its_members(client: Client) -> None:
    sent = {"specversion": "1.0", "id": "cloud", "source": "/subscriptions/s", "type": "t", "data": {}, "extra": "kept"}
    assert await client.notify("on_event", sent) == (202, "")
    assert sent in [entry["event"] for entry in await client.seen("on_event")]


async def test_the_events_of_one_request_run_in_parallel(client: Client) -> None:
    started = time.monotonic()
    status, _ = await client.notify("on_event", [event(f"parallel-{n}", sleep=0.3) for n in range(5)])
    assert status == 202
    assert time.monotonic() - started < 1.0


async def test_one_failed_event_fails_the_request_but_all_ran(client: Client) -> None:
    status, body = await client.notify("on_event", [event("good"), event("poison", fail=True), event("also-good")])
    assert status == 500
    assert "Functions.on_event" in body
    assert "ValueError: cannot take poison" in body
    assert {"good", "poison", "also-good"} <= set(await seen_ids(client, "on_event"))


async def test_a_run_that_exceeds_the_time_limit_fails(client: Client) -> None:
    status, body = await client.notify("on_event", [event("slow", sleep=30)])
    assert status == 500
    assert "Timeout value of 1 s exceeded" in body


@pytest.mark.parametrize("name", ["nobody", "ON_EVENT", "tick", ""])
async def test_an_unknown_function_is_not_found(client: Client, name: str) -> None:
    assert await client.notify(name, [event("lost")]) == (404, f"cannot find function: '{name}'")


@pytest.mark.parametrize("headers", [{}, {"aeg-event-type": "Greeting"}])
async def test_a_request_without_a_known_kind_is_refused(client: Client, headers: dict[str, str]) -> None:
    status, _ = await client.send("POST", "/runtime/webhooks/eventgrid?functionName=on_event", "[]", headers)
    assert status == 400


async def test_the_handshake_is_answered_in_both_schemas(client: Client) -> None:
    data = {"validationCode": CODE}
    for content in ([{"id": "1", "data": data}], {"specversion": "1.0", "data": json.dumps(data)}):
        status, body = await client.notify("on_event", content, "SubscriptionValidation")
        assert (status, json.loads(body)) == (200, {"validationResponse": CODE})


async def test_unsubscribing_is_accepted(client: Client) -> None:
    assert (await client.notify("on_event", [], "Unsubscribe"))[0] == 202


async def test_an_empty_batch_is_accepted_and_runs_nothing(client: Client) -> None:
    before = len(await client.seen("loud"))
    assert await client.notify("loud", []) == (202, "")
    assert len(await client.seen("loud")) == before


@pytest.mark.parametrize("body", ["", "{", '"text"', "7", "null"])
async def test_a_body_that_is_no_event_fails_the_request(client: Client, body: str) -> None:
    path = "/runtime/webhooks/eventgrid?functionName=on_event"
    assert (await client.send("POST", path, body, {"aeg-event-type": "Notification"}))[0] == 500


async def test_log_lines_carry_their_function_in_threads_too(client: Client) -> None:
    assert (await client.notify("in_thread", [event("threaded")]))[0] == 202
    lines = client.host.output().splitlines()
    assert any("[in_thread " in line and line.endswith("from a thread") for line in lines)
    assert any("[in_thread " in line and "Executed 'Functions.in_thread' (Succeeded" in line for line in lines)


async def test_log_levels_of_host_json_are_honoured_by_category(client: Client) -> None:
    assert (await client.notify("loud", [event("hushed")]))[0] == 202
    assert "not to be seen" not in client.host.output()
    assert "Executed 'Functions.loud'" in client.host.output()
