"""A fleet with something of every kind for the page to show, and the page over it: without a network, and served on a
port for a browser."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from onboarding.app import Application
from onboarding.application.ports import RowWrite, ScheduledCheck
from onboarding.domain.failures.failure_rules import Cause
from onboarding.domain.limits.circuit_breaker import CircuitBreaker
from onboarding.domain.limits.pause import Pause
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_totals import Activity, RowKind, Totals
from onboarding.domain.resource_id import VmId
from onboarding.web.answers import Answer
from onboarding.web.pages import Request, answer
from tests.flow.world import OMS, POLICY, SUBSCRIPTION, XENIAL, World, vm_id

LAPTOP = {"AZURE_FUNCTIONS_ENVIRONMENT": "Development"}
OTHER = "99998888-7777-4666-8555-444433332222"
PERSON = "0a1b2c3d-0000-4000-8000-00000000000f"
FORM = "application/x-www-form-urlencoded"
NEW = "azure-monitor-agent-linux"
POLICIES: list[dict[str, Any]] = [
    {
        **POLICY,
        "brake": {"maxInstallsPerHour": 100, "stopAfterFailures": 50},
        "exemptions": [
            {
                "scope": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/legacy-rg",
                "reason": "replaced this winter",
                "expiresOn": "2026-11-30",
            },
            {
                "scope": f"/subscriptions/{OTHER}/resourceGroups/appliances",
                "category": "Mitigated",
                "reason": "own agent",
            },
        ],
    },
    {"name": "new-agent", "extension": NEW, "effect": "auditIfNotExists"},
    {
        "name": "retire-oms",
        "effect": "removeIfExists",
        "extension": OMS,
        "scope": [f"/subscriptions/{OTHER}/resourceGroups/moved-rg"],
        "onlyAfter": {"policy": "new-agent", "for": "24h", "proof": "arm"},
    },
]


def page_world() -> World:
    return World(policies=POLICIES, person=PERSON)


async def full_world(more: int = 0) -> World:
    """Machines of every outcome in two subscriptions, ninety days of totals, a pause, an open breaker, poison; and so
    many more that are onboarded."""
    world = page_world()
    for number in range(more):
        await put(world, VmId(OTHER, f"shop-{number % 3}-rg", f"shop{number:03}"), Outcome.INSTALLED)
    for number in range(12):
        vm = world.add(f"web{number:02}", image=XENIAL)
        await world.created(vm)
        await world.installed(vm)
    for number in range(3):
        vm = world.add(f"asleep{number}", power="deallocated")
        await world.created(vm)
    for number in range(2):
        vm = world.add(
            f"odd{number}", image={"publisher": "contoso", "offer": "golden", "sku": "image", "version": "1"}
        )
        await world.created(vm)
    broken = world.add("broken", image=XENIAL)
    await world.created(broken)
    await _fails(world, broken)
    for number in range(5):
        await put(world, VmId(OTHER, "moved-rg", f"db{number}"), Outcome.INSTALLED, extension=NEW, policy="new-agent")
        await put(world, VmId(OTHER, "data-rg", f"sealed{number}"), Outcome.FAILED, **_SEALED)
    await put(world, VmId(OTHER, "data-rg", "old-one"), Outcome.UNSUPPORTED, reason="debian 7 is not in the table")
    await put(world, VmId(OTHER, "data-rg", "left"), Outcome.GONE, reason="ARM does not know the VM any more")
    await put(world, VmId(OTHER, "moved-rg", "db0"), Outcome.WAITING, policy="retire-oms", **_WAITS)
    await _totals(world, 100 * (17 + more) // (48 + more))
    await world.pauses.write(
        Pause(reason="change freeze for the fair", since=world.now - timedelta(hours=2), policy="new-agent", by=PERSON),
        None,
    )
    await world.breakers.write(BREAKER, None)
    world.poison.messages.append(ScheduledCheck(vm_id("web00"), world.now))
    return world


_SEALED: dict[str, Any] = {
    "error_code": "extension-operations-disallowed",
    "cause": Cause.EXTENSION_OPERATIONS_DISALLOWED.value,
    "reason": "the VM's owner switched extension operations off (allowExtensionOperations is false)",
    "error_meaning": "The VM does not allow extensions.",
    "advice": "If its owner agrees, install the VM agent and set allowExtensionOperations to true, then retry.",
}
_WAITS: dict[str, Any] = {
    "waiting_for": WaitingFor.ONLY_AFTER,
    "reason": "policy new-agent is satisfied for 3 h of 24 h",
    "extension_name": "OMSExtension",
    "was": "Installed",
}
BREAKER = CircuitBreaker(
    subscription=OTHER,
    resource_group="*",
    extension=OMS,
    cause=Cause.NOT_AUTHORIZED,
    meaning="The app's identity lacks a right.",
    advice="Give the identity of the function app the role of docs/deploying.md on the subscription.",
    message="The client does not have authorization to perform 'Microsoft.Compute/virtualMachines/extensions/write'",
    since=datetime.fromisoformat("2026-11-20T08:00:00+00:00"),
    next_probe_at=datetime.fromisoformat("2026-11-20T10:10:00+00:00"),
    probes=3,
    prober=str(VmId(OTHER, "data-rg", "sealed0")).lower(),
)


async def _fails(world: World, vm: VmId) -> None:
    """The handler of the machine reports that a package could not be installed."""
    machine = world.arm.machines[vm.key]
    found = machine["resources"][0]
    status = {
        "code": "ProvisioningState/failed/52",
        "level": "Error",
        "displayStatus": "Provisioning failed",
        "message": "Enable failed with exit code 52: dpkg: error processing package omsagent",
    }
    view = {"name": found["name"], "statuses": [status]}
    world.arm.set_extension(vm, {**found, "properties": {**found["properties"], "provisioningState": "Failed"}})
    machine["properties"]["instanceView"]["extensions"] = [view]
    await world.extension_written(vm, found["name"], succeeded=False)


async def put(world: World, vm: VmId, outcome: Outcome, **changes: Any) -> Row:
    """Write a row of a machine as a pass does."""
    known = await world.ledger.read(vm)
    moments: dict[str, Any] = {"finished_at": world.now, "duration_ms": 95_000} if outcome.final else {}
    if not outcome.final:
        moments = {"waiting_since": world.now, "next_attempt_at": world.now + timedelta(hours=1)}
    usual: dict[str, Any] = {
        "resource_id": str(vm),
        "vm_name": vm.name,
        "resource_group": vm.resource_group,
        "extension": OMS,
        "policy": "linux-monitoring",
        "outcome": outcome,
        "reason": "the handler reports success",
        "distribution": "ubuntu",
        "os_version": "18.04",
        "event_id": f"event-{vm.name}",
        "event_time": world.now - timedelta(seconds=95),
        "correlation_id": "c0ffee00-0000-4000-8000-000000000001",
    }
    row = Row(**usual | moments | changes)
    machine = MachineRow(resource_id=str(vm), vm_id=f"id-of-{vm.name}", next_attempt_at=moments.get("next_attempt_at"))
    version = known.machine.version if known.machine else None
    entry = RowWrite(row, known.version(row.extension))
    await world.ledger.commit(machine, version, [entry], replace(world.trigger(), correlation_id="c0ffee"))
    return row


async def _totals(world: World, share: int) -> None:
    """What the sweep counted: ninety days on which more and more was onboarded, up to that percentage."""
    await world.sweep.run()
    for subscription, size in ((SUBSCRIPTION, 90), (OTHER, 60)):
        counted = [each async for each in world.ledger.totals(subscription, world.now.date())][-1]
        for day in range(1, 90):
            at = world.now - timedelta(days=day)
            done = max(0, (90 - day) * size * share // 9000 - (day % 7 == 0))
            kinds = {
                RowKind("linux-monitoring", OMS, Outcome.INSTALLED, "", ""): done,
                RowKind("linux-monitoring", OMS, Outcome.FAILED, "timeout", ""): size - done,
            }
            await world.ledger.write_totals(Totals(subscription, at, kinds, at, Activity()))
        await world.ledger.write_totals(counted)


def headers_of(**more: str) -> dict[str, str]:
    """The headers of a browser on the laptop, on a page of ours."""
    return {"host": "localhost:7071", "sec-fetch-site": "same-origin", "content-type": FORM, **more}


async def get(
    world: World, path: str = "", environment: Mapping[str, str] = LAPTOP, headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask for a page: `path` is what follows `/api/ui`."""
    request = Request("GET", f"http://localhost:7071/api/ui{path}", headers_of() if headers is None else headers)
    return await answer(request, lambda: world.application, environment, world.now)


async def post(
    world: World,
    path: str,
    fields: Mapping[str, Any],
    environment: Mapping[str, str] = LAPTOP,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send a form."""
    body = urlencode(fields, doseq=True).encode()
    sent = headers_of() if headers is None else headers
    request = Request("POST", f"http://localhost:7071/api/ui{path}", sent, body)
    return await answer(request, lambda: world.application, environment, world.now)


@contextmanager
def served(make: Callable[[], Any]) -> Iterator[tuple[str, World]]:
    """The page of the world that `make` builds, at an address of this machine; and the world."""
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[tuple[str, World]] = []
    failed: list[BaseException] = []

    async def serve() -> None:
        world: World = await make()
        runner = web.AppRunner(_application(lambda: world.application, lambda: world.now), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.append((f"http://127.0.0.1:{runner.addresses[0][1]}/api/ui", world))
        ready.set()
        await ended.wait()
        await runner.cleanup()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001 - it is raised where the fixture waits
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(60)
    try:
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def _application(application: Callable[[], Application], clock: Callable[[], datetime]) -> web.Application:
    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Request(request.method, str(request.url), headers, await request.read())
        given = await answer(received, application, LAPTOP, clock())
        body, sent = given.sent(headers.get("accept-encoding", ""))
        return web.Response(body=body, status=given.status, headers={**sent, "Content-Type": given.mimetype})

    made = web.Application()
    made.router.add_route("*", "/{path:.*}", handle)
    return made
