"""Dead letters are counted in their container, also where a service refuses that; `onboard events` shows them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from azure.core.credentials import AzureSasCredential

from onboarding.application.ports import LetterCount
from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.dead_letters import MOST, count_dead_letters
from onboarding.azure.storage.storage_clients import dead_letters, event_store
from onboarding.azure.storage.storage_requests import Service, StorageRequests
from onboarding.cli.main import main
from onboarding.domain.errors import StorageError
from simulator.azurite import Azurite
from tests.adapters.conftest import NOWHERE, storage_of

FILE = "<Blob><Name>a/{0}.json</Name><Properties><Last-Modified>{1}</Last-Modified></Properties></Blob>"


async def empty(azurite: Azurite, connections: Connections) -> StorageRequests:
    container = dead_letters(storage_of(azurite.connection_string), None, connections)
    await container.send_unchecked("DELETE", "", "restype=container", headers={})
    return container


async def test_files_are_counted_with_the_time_of_the_newest(azurite: Azurite, connections: Connections) -> None:
    container = await empty(azurite, connections)
    assert await count_dead_letters(container) == (
        "there is no container 'dead-letters' in the storage account, as on a laptop"
    )
    store = event_store(storage_of(azurite.connection_string), "events-kept", None, connections)
    for number in range(3):
        await store.store(f"EVENTS-QUEUE/2026/11/{number}.json", b"[]")
    found = await count_dead_letters(container)
    assert isinstance(found, LetterCount)
    assert (found.files, found.more) == (3, False)
    assert found.newest is not None
    assert datetime.now(UTC) - found.newest < timedelta(minutes=1)


def test_the_command_shows_what_the_page_shows(
    azurite: Azurite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fill() -> None:
        connections = Connections()
        await empty(azurite, connections)
        store = event_store(storage_of(azurite.connection_string), "events-kept", None, connections)
        await store.store("EVENTS-QUEUE/one.json", b"[]")
        await connections.close()

    asyncio.run(fill())
    settings = tmp_path / "local.settings.json"
    settings.write_text(json.dumps({"Values": {"AzureWebJobsStorage": azurite.connection_string}}))
    assert main(["events", "--settings", str(settings)]) == 0
    assert "dead letters: 1\nthe newest: 20" in capsys.readouterr().out
    assert main(["events", "-o", "json", "--settings", str(settings)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["deadLetters"]["files"], found["poison"]) == (1, 0)


async def test_at_most_a_thousand_are_read_at_one_request(connections: Connections) -> None:
    limits: list[str] = []
    days = ("Fri, 20 Nov 2026 09:00:00 GMT", "Fri, 20 Nov 2026 10:00:00 GMT", "unknown")

    async def handle(request: web.Request) -> web.Response:
        limits.append(request.query["maxresults"])
        blobs = "".join(FILE.format(number, days[number % 3]) for number in range(MOST))
        return web.Response(text=f"<E><Blobs>{blobs}</Blobs><NextMarker>2!76!x</NextMarker></E>")

    found = await counted_by(handle, connections)
    assert found == LetterCount(MOST, True, datetime(2026, 11, 20, 10, tzinfo=UTC))
    assert limits == ["1000"]


async def test_without_the_right_to_list_it_says_which_role_that_needs(connections: Connections) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=403, text="<Error><Code>AuthorizationPermissionMismatch</Code></Error>")

    found = await counted_by(handle, connections)
    assert found == (
        "the container 'dead-letters' may not be listed: that needs the role Storage Blob Data Reader on it"
        " (AuthorizationPermissionMismatch)"
    )


async def test_an_answer_that_is_no_list_is_a_storage_error(connections: Connections) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    with pytest.raises(StorageError, match="cannot be counted: ValueError"):
        await counted_by(handle, connections)


async def test_storage_that_cannot_be_reached_is_a_storage_error(connections: Connections) -> None:
    with pytest.raises(StorageError, match="the dead letters cannot be counted"):
        await count_dead_letters(dead_letters(storage_of(NOWHERE), None, connections))


async def counted_by(handle: object, connections: Connections) -> LetterCount | str:
    """What is counted of a service that answers so."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handle)  # type: ignore[arg-type]
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/dead-letters"
        return await count_dead_letters(StorageRequests(Service.BLOB, url, AzureSasCredential("sig=x"), connections))
    finally:
        await runner.cleanup()
