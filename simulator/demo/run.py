"""`python -m simulator demo`: start everything, onboard a fleet, and check the results.

The exit code is 0 only if every check holds; 1 if one does not, or if a process could not be started.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from copy import replace

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient
from rich.console import Console

from simulator.demo.fleet import CROWDED, make_fleet
from simulator.demo.guide import guide
from simulator.demo.ledger import Ledger, Row
from simulator.demo.progress import Progress, progress_for
from simulator.demo.report import WIDTH, Report, sort_rows
from simulator.demo.scene import Scene
from simulator.demo.today import SETTINGS, TODAY, lacking, make_today, prepare
from simulator.demo.verdict import Evidence, figures, judge, search_secrets
from simulator.eventgrid import EventSchema, Faults
from simulator.host_process import FunctionsHost
from simulator.laptop import FUNCTION, ROOT, SUBSCRIPTIONS, CloudOptions, Laptop, forget_settings
from simulator.roles import assign_shipped_roles

POLICIES = ROOT / "samples" / "policies" / "demo"
FAULTS = ROOT / "samples" / "faults" / "demo.yaml"

# Some events are delivered twice, and all are up to 20 simulated seconds late, so in random order.
_FAULTS = Faults(duplicate=0.15, jitter=20.0)
# Settings that every host supports: the queue is polled every second, and the sweep runs during the demo.
_SETTINGS = {
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:01",
    "SWEEP_SCHEDULE": "*/20 * * * * *",
}
_QUEUES = ("deferrals", "deferrals-poison")
_POLL = 0.25
_ARRIVAL = 5.0  # seconds that the last outcome events may take


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    forget_settings(os.environ)
    console = Console(stderr=args.json)
    if not console.is_terminal:
        console = Console(stderr=args.json, width=WIDTH)
    return asyncio.run(_demo(args, console))


async def _demo(args: argparse.Namespace, console: Console) -> int:
    began = time.monotonic()
    today = make_today(args.vms)
    scene = Scene((*make_fleet(args.vms, args.seed, tuple(SUBSCRIPTIONS)), *today))
    async with Laptop(CloudOptions(seed=args.seed, faults=_FAULTS, observe=scene.observe)) as laptop:
        prepare(laptop.arm)
        assign_shipped_roles(laptop.arm, (*SUBSCRIPTIONS, CROWDED, TODAY))
        console.print(
            "Starting the functions host; Azurite, ARM, Event Grid and an outcome topic are up", highlight=False
        )
        laptop.arm.faults.load(FAULTS)
        host = await laptop.start_host(POLICIES, {**_SETTINGS, **SETTINGS})
        more = dict.fromkeys((CROWDED, TODAY), EventSchema.EVENT_GRID)
        await laptop.subscribe(host.event_grid_endpoint(FUNCTION), more)
        async with Ledger(laptop.azurite.connection_string) as ledger:
            with progress_for(console, len(scene.fleet)) as progress:
                await _play(laptop, scene, ledger, progress)
            report = await _report(laptop, scene, ledger, host, began)
        _show(report, console, as_json=args.json)
        if args.keep:
            text = guide(laptop, host.url, scene.fleet, POLICIES, SETTINGS)
            console.print(text, highlight=False, markup=False, soft_wrap=True)
            with suppress(asyncio.CancelledError):  # Ctrl-C is the normal end
                await asyncio.Event().wait()
    return 0 if report.ok else 1


async def _play(laptop: Laptop, scene: Scene, ledger: Ledger, progress: Progress) -> None:
    """Run until all events are delivered and every row is final, or until the deadline."""
    deadline = time.monotonic() + 60 + 0.5 * len(scene.fleet)
    playing = asyncio.create_task(scene.play(laptop.arm, laptop.clock))
    try:
        while time.monotonic() < deadline:
            quiet = playing.done() and not laptop.grid.in_flight
            rows = await ledger.of(scene.extensions)
            progress.update(scene.created, rows.values())
            if quiet and len(rows) >= len(scene.fleet) and all(row.final for row in rows.values()):
                break
            await asyncio.sleep(_POLL)
    finally:
        playing.cancel()
    await _wait_until_published(laptop, await ledger.of(scene.extensions))


async def _wait_until_published(laptop: Laptop, rows: Mapping[str, Row]) -> None:
    """Outcomes are published after they are written, so the last ones may still be on their way."""
    deadline = time.monotonic() + _ARRIVAL
    while time.monotonic() < deadline:
        arrived = {(str(event["subject"]).lower(), event["data"].get("Outcome")) for event in laptop.topic.events}
        if {(vm, row.outcome) for vm, row in rows.items() if row.final} <= arrived:
            return
        await asyncio.sleep(_POLL)


async def _report(laptop: Laptop, scene: Scene, ledger: Ledger, host: FunctionsHost, began: float) -> Report:
    counters, arm = laptop.grid.counters, laptop.arm
    today = [member for member in scene.fleet if member.spec.subscription == TODAY]
    evidence = Evidence(
        fleet=scene.fleet,
        rows=await ledger.of(scene.extensions),
        requests=laptop.arm.requests,
        repeated=laptop.grid.repeated,
        outcome_events=laptop.topic.events,
        undelivered=counters.lost + counters.dropped + counters.dead_lettered + laptop.grid.in_flight,
        failures=re.findall(r"Executed '.*\(Failed, .*", host.output()),
        lacking=lacking(arm, today),
        silent={member.id: arm.data_flows(member.id).reason for member in today},
        breakages=[each for each in arm.breakages if each.principal == arm.options.principal_id],
        refused={each.action for each in arm.scopes.needed if not each.granted},
    )
    took = time.monotonic() - began
    report = Report(sort_rows(evidence.rows), figures(evidence), judge(evidence), took, laptop.cloud_options.scale)
    texts = {
        "table": repr(await ledger.everything()),
        "queue": await _messages(laptop.azurite.connection_string),
        "host's log": host.output(),
        "outcome events": repr(laptop.topic.events),
        "output": report.as_json(),
    }
    return replace(report, checks=[*report.checks, search_secrets(laptop.secrets(), texts)])


async def _messages(connection_string: str) -> str:
    """The visible messages: a scheduled check becomes visible at its time."""
    seen: list[str] = []
    for name in _QUEUES:
        async with QueueClient.from_connection_string(connection_string, name) as queue:
            try:
                seen += [str(message.content) for message in await queue.peek_messages(max_messages=32)]
            except ResourceNotFoundError:
                continue  # never used
    return "\n".join(seen)


def _show(report: Report, console: Console, *, as_json: bool) -> None:
    sys.stdout.write(report.as_json() + "\n" if as_json else report.as_text(console))
    sys.stdout.flush()
