"""HTTP functions and the host's administration endpoints, used over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from simulator.azurite import Azurite
from simulator.host_process import FunctionsHost
from tests.host.conftest import APPS, Client, eventually

KEY = "the-key-of-this-test"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/vms/web01", {"name": "web01"}),
        ("/api/VMs/web01/", {"name": "web01"}),
        ("/api/vms/web01/7", {"name": "web01", "age": "7"}),
    ],
)
async def test_route_parameters_reach_the_function(client: Client, path: str, route: dict[str, str]) -> None:
    status, body = await client.send("PUT", f"{path}?a=b&c=", "some text")
    assert status == 207
    assert json.loads(body) == {"method": "PUT", "route": route, "query": {"a": "b", "c": ""}, "body": "some text"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/vms"),
        ("GET", "/api/vms/web01/young"),
        ("GET", "/api/vms/web01/7/more"),
        ("POST", "/api/vms/web01"),
        ("GET", "/vms/web01"),
        ("GET", "/api/nothing"),
        ("GET", "/runtime/webhooks/eventgrid"),
    ],
)
async def test_a_request_without_a_route_is_not_found(client: Client, method: str, path: str) -> None:
    assert (await client.send(method, path))[0] == 404


@pytest.mark.parametrize("path", ["/api/failing", "/api/endless"])
async def test_a_failed_function_is_an_error_without_details(client: Client, path: str) -> None:
    assert await client.send("GET", path) == (500, "")


async def test_levels_are_not_checked_by_default(client: Client) -> None:
    assert await client.send("GET", "/api/secret") == (200, "only for admins")


async def test_the_host_shows_its_state_and_its_functions(client: Client) -> None:
    status, body = await client.send("GET", "/admin/host/status")
    assert status == 200
    assert json.loads(body)["state"] == "Running"
    assert json.loads(body)["errors"] == []
    _, body = await client.send("GET", "/admin/functions")
    assert {"on_event", "on_message", "tick", "vm"} <= {entry["name"] for entry in json.loads(body)}


async def test_any_function_can_be_run_by_hand(client: Client) -> None:
    by_hand = json.dumps({"id": "by-hand", "data": {}})
    for name, given in (("on_event", by_hand), ("on_message", "by hand"), ("tick", "")):
        assert await client.send("POST", f"/admin/functions/{name}", json.dumps({"input": given})) == (202, "")

    async def both() -> bool:
        events = await client.seen("on_event")
        messages = await client.seen("on_message")
        return any(e["event"]["id"] == "by-hand" for e in events) and any(m["text"] == "by hand" for m in messages)

    await eventually(both)


@pytest.mark.parametrize(
    ("name", "body", "status"), [("nobody", "{}", 404), ("tick", "{", 400), ("tick", "[]", 400), ("tick", "", 202)]
)
async def test_a_run_by_hand_answers_as_the_host_does(client: Client, name: str, body: str, status: int) -> None:
    assert (await client.send("POST", f"/admin/functions/{name}", body))[0] == status


@pytest.fixture
async def guarded(azurite: Azurite) -> AsyncIterator[Client]:
    settings = {"AzureWebJobsStorage": azurite.connection_string, "WORK_QUEUE": "guarded", "TICK": "0 0 0 1 1 *"}
    arguments = ["--enable-auth", "--key", KEY]
    with FunctionsHost(APPS / "full", settings, arguments=arguments) as host:
        async with aiohttp.ClientSession() as session:
            yield Client(host, session)


async def test_keys_are_checked_if_the_host_is_started_so(guarded: Client) -> None:
    hook = "/runtime/webhooks/eventgrid?functionName=on_event"
    kind = {"aeg-event-type": "Notification"}
    for method, path, headers, open_status in (
        ("GET", "/api/vms/web01", {}, 207),
        ("GET", "/api/secret", {}, 200),
        ("GET", "/admin/host/status", {}, 200),
        ("GET", "/admin/functions", {}, 200),
        ("POST", "/admin/functions/tick", {}, 202),
        ("POST", hook, kind, 202),
    ):
        body = "[]" if path == hook else ""
        joint = "&" if "?" in path else "?"
        assert (await guarded.send(method, path, body, headers))[0] == 401, path
        assert (await guarded.send(method, f"{path}{joint}code=wrong", body, headers))[0] == 401, path
        assert (await guarded.send(method, f"{path}{joint}code={KEY}", body, headers))[0] == open_status, path
        assert (await guarded.send(method, path, body, {**headers, "x-functions-key": KEY}))[0] == open_status, path
    assert (await guarded.send("GET", "/api/seen"))[0] == 200
    assert guarded.host.event_grid_endpoint("on_event").endswith(f"functionName=on_event&code={KEY}")
