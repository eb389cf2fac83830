"""The page under the functions host: the fleet of the demo, Azurite, ARM over TLS, keys that are checked."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from simulator.azurite import connection_string
from simulator.demo.fleet import make_fleet
from simulator.demo.ledger import Ledger
from simulator.demo.today import SETTINGS, prepare
from simulator.host_process import FunctionsHost
from simulator.laptop import FUNCTION, ROOT, SUBSCRIPTIONS, CloudOptions, Laptop, run_command
from simulator.pages import read_pages
from tests.adapters.storage.recorded_queries import RecordedQueries, recorded_queries

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]  # a whole fleet comes to rest first
KEY = "the-key-of-this-test"
POLICIES = ROOT / "samples" / "policies" / "demo"
NEVER = "0 0 0 1 1 *"
OURS = {"Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True)
class Site:
    laptop: Laptop
    host: FunctionsHost
    ledger: Ledger
    session: aiohttp.ClientSession
    recorded: RecordedQueries

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.session.get(self.host.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, fields: Mapping[str, str], **headers: str) -> tuple[int, str]:
        async with self.session.post(self.host.url + path, data=fields, headers=headers) as answer:
            return answer.status, await answer.text()

    async def command(self, *arguments: str) -> str:
        return await run_command(self.laptop.host_environment(POLICIES, SETTINGS), *arguments)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site() -> AsyncIterator[Site]:
    """A fleet at rest, after one sweep at rest."""
    fleet = make_fleet(40, 7, tuple(SUBSCRIPTIONS))
    async with (
        Laptop(CloudOptions(scale=600)) as laptop,
        Ledger(laptop.azurite.connection_string) as ledger,
        aiohttp.ClientSession() as session,
    ):
        prepare(laptop.arm, {})
        more = {
            **SETTINGS,
            "SWEEP_SCHEDULE": NEVER,
            "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:01",
        }
        environment = laptop.host_environment(POLICIES, more)
        upstream = laptop.azurite.endpoints["table"].removesuffix("/devstoreaccount1")
        with (
            recorded_queries(upstream) as recorded,
            FunctionsHost(
                ROOT, environment | _behind(laptop, recorded), arguments=["--enable-auth", "--key", KEY]
            ) as host,
        ):
            await laptop.subscribe(host.event_grid_endpoint(FUNCTION), SUBSCRIPTIONS)
            for member in fleet:
                laptop.arm.create_vm(member.spec)
            found = Site(laptop, host, ledger, session, recorded)
            await _at_rest(found)
            await found.command("sweep")
            yield found


def _behind(laptop: Laptop, recorded: RecordedQueries) -> dict[str, str]:
    """The storage whose reads are recorded."""
    return {"AzureWebJobsStorage": connection_string({**laptop.azurite.endpoints, "table": recorded.endpoint})}


async def _at_rest(site: Site) -> None:
    """Wait until nothing has changed for three seconds, and what waits waits for a person to start its machine."""
    deadline, since, before = time.monotonic() + 120, time.monotonic(), ""
    while time.monotonic() < deadline:
        rows = (await site.ledger.by_target()).values()
        now = repr(sorted((row.vm, row.extension, row.outcome) for row in rows))
        waiting = [row for row in rows if not row.final and row.text("WaitingFor") != "vm-running"]
        if now != before or waiting or not rows or site.laptop.grid.in_flight:
            since, before = time.monotonic(), now
        elif time.monotonic() - since > 3:
            return
        await asyncio.sleep(0.25)
    raise AssertionError("the fleet does not come to rest")


async def test_page_command_and_daily_totals_give_the_same_numbers(site: Site) -> None:
    _, text = await site.get("/api/views/overview", **{"x-functions-key": KEY})
    page = json.loads(text)["outcomes"]
    command = json.loads(await site.command("status", "--totals", "-o", "json"))
    assert "asOf" in command  # it took the totals, and did not count
    rows = Counter(row.outcome for row in (await site.ledger.by_target()).values())
    assert page == command["outcomes"] == await site.ledger.totals() == dict(rows)


async def test_every_page_answers_without_a_scan_of_the_table_and_has_no_secret(site: Site) -> None:
    site.recorded.reads.clear()
    pages = await read_pages(site.host.url)
    assert len(pages) > 20
    assert site.recorded.reads
    assert site.recorded.scans == []
    together = "\n".join(pages.values())
    assert [name for name, secret in site.laptop.secrets().items() if secret in together] == []


async def test_keys_open_the_twins_and_the_details_of_health_and_nothing_else_needs_one(site: Site) -> None:
    with_key = {"x-functions-key": KEY}
    for path in ("/api/views/machines", "/api/health/details", "/api/check?image=a:b:c"):
        assert (await site.get(path))[0] == 401
    assert (await site.get("/api/views/machines?outcome=Failed", **with_key))[0] == 200
    status, text = await site.get("/api/health/details", **with_key)
    details: dict[str, Any] = json.loads(text)
    assert (status, details["status"], details["storage"], details["token"]) == (200, "healthy", "", True)
    assert details["lastEvent"] is not None
    assert details["lastSweep"] is not None
    assert details["poison"] == 0
    assert await site.get("/api/health") == (200, json.dumps({"status": "healthy"}, indent=2))
    assert (await site.get("/api/ui"))[0] == 200


async def test_a_retry_on_the_page_reaches_azure_and_is_in_the_history(site: Site) -> None:
    failed = next(row for row in (await site.ledger.by_target()).values() if row.outcome == "Failed")
    machine = failed.text("ResourceId")
    before = site.laptop.arm.requests.count(vm=machine)
    assert (await site.post("/api/ui/retry", {"id": machine}, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert site.laptop.arm.requests.count(vm=machine) == before
    status, text = await site.post("/api/ui/retry", {"id": machine}, **OURS)
    assert (status, "1 machine retried" in text) == (200, True)
    assert site.laptop.arm.requests.count(vm=machine) > before
    lines = [each for each in await site.ledger.everything() if each.get("ResourceId") == machine]
    assert [each for each in lines if str(each.get("EventId", "")).startswith("request.")]


async def test_an_address_that_is_not_this_machine_is_refused(site: Site) -> None:
    assert (await site.get("/api/ui", Host="laptop.example"))[0] == 503
    assert (await site.get("/api/ui", **{"X-Forwarded-For": "203.0.113.7"}))[0] == 503
