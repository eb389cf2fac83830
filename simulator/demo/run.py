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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from copy import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import ClientSession
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient
from rich.console import Console

from simulator.demo.fleet import CROWDED, make_fleet
from simulator.demo.guide import guide
from simulator.demo.ledger import Ledger, Row
from simulator.demo.own_policies import copy_policies, secret_settings
from simulator.demo.progress import Progress, progress_for
from simulator.demo.report import WIDTH, Report, sort_rows
from simulator.demo.scene import Scene
from simulator.demo.today import SETTINGS, TODAY, lacking, make_today, prepare
from simulator.demo.verdict import Check, Evidence, figures, judge, judge_any, search_secrets
from simulator.eventgrid import EventSchema, Faults
from simulator.host_process import FunctionsHost
from simulator.laptop import FUNCTION, ROOT, SUBSCRIPTIONS, CloudOptions, Laptop, forget_settings, sweep_by_hand
from simulator.pages import read_pages
from simulator.roles import assign_shipped_roles

POLICIES = ROOT / "samples" / "policies" / "demo"
_WAITS = POLICIES / "linux-monitoring.yaml"
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
_LONG_WAIT = timedelta(seconds=30)  # a row that is checked so late is not waited for under policies of one's own
_PATIENCE = 1200.0  # simulated seconds: policies of one's own may want no extension on a VM that waits for one
_ARRIVAL = 5.0  # seconds that the last outcome events may take


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    forget_settings(os.environ)
    console = Console(stderr=args.json)
    if not console.is_terminal:
        console = Console(stderr=args.json, width=WIDTH)
    return asyncio.run(_demo(args, console))


async def _demo(args: argparse.Namespace, console: Console) -> int:
    if not args.policies:
        return await _onboard(args, console, POLICIES)
    with TemporaryDirectory(prefix="demo-policies-") as temporary:
        own = Path(temporary) / "policies"
        changed = copy_policies(Path(args.policies), own, _WAITS)
        if changed:
            console.print(f"The demo's waits, for a cloud of fast minutes, are added to {', '.join(changed)}")
        return await _onboard(args, console, own)


async def _onboard(args: argparse.Namespace, console: Console, policies: Path) -> int:
    began = time.monotonic()
    today = make_today(args.vms)
    scene = Scene((*make_fleet(args.vms, args.seed, tuple(SUBSCRIPTIONS)), *today), _PATIENCE)
    async with Laptop(CloudOptions(seed=args.seed, faults=_FAULTS, observe=scene.observe)) as laptop:
        prepare(laptop.arm, dict(args.setting))
        assign_shipped_roles(laptop.arm, (*SUBSCRIPTIONS, CROWDED, TODAY))
        console.print(
            "Starting the functions host; Azurite, ARM, Event Grid and an outcome topic are up", highlight=False
        )
        laptop.arm.faults.load(FAULTS)
        settings = {**SETTINGS, **dict(args.setting)}
        host = await laptop.start_host(policies, {**_SETTINGS, **settings})
        if args.policies:
            await _say_health(console, host.url)
        more = dict.fromkeys((CROWDED, TODAY), EventSchema.EVENT_GRID)
        await laptop.subscribe(host.event_grid_endpoint(FUNCTION), more)
        async with Ledger(laptop.azurite.connection_string) as ledger:
            read = ledger.by_target if args.policies else partial(ledger.of, scene.extensions)
            with progress_for(console, len(scene.fleet)) as progress:
                await _play(laptop, scene, read, progress, own=bool(args.policies))
            evidence = _evidence(laptop, scene, await read(), host)
            checks = judge_any(evidence) if args.policies else judge(evidence)
            secrets = {name: settings[name] for name in secret_settings(policies) if settings.get(name)}
            report = await _report(laptop, evidence, checks, ledger, host, began, secrets)
            # The sweep counts once an hour, and did so while the fleet was made.
            if args.keep and not await sweep_by_hand(laptop.host_environment(policies, {**_SETTINGS, **settings})):
                console.print("The sweep did not count the rows again in time: the totals are of an earlier run")
        _show(report, console, as_json=args.json)
        if args.picture:
            picture = report.as_picture(title=_command(args))
            await asyncio.to_thread(Path(args.picture).write_text, picture, "utf-8")
        if args.keep:
            text = guide(laptop, host.url, scene.fleet, policies, settings)
            console.print(text, highlight=False, markup=False, soft_wrap=True)
            with suppress(asyncio.CancelledError):  # Ctrl-C is the normal end
                await asyncio.Event().wait()
    return 0 if report.ok else 1


async def _say_health(console: Console, host: str) -> None:
    """What the product says of the policies and settings, which may not be usable."""
    async with ClientSession() as session, session.get(f"{host}/api/health/details") as answer:
        health = await answer.json()
    names = ", ".join(policy["name"] for policy in health["policies"])
    console.print(
        f"/api/health/details: {health['status']}; policies: {names or 'none'}", highlight=False, markup=False
    )
    for problem in health["problems"]:
        console.print(f"  {problem}", highlight=False, markup=False, soft_wrap=True)


type _Read = Callable[[], Awaitable[dict[str, Row]]]


async def _play(laptop: Laptop, scene: Scene, read: _Read, progress: Progress, *, own: bool) -> None:
    """Run until all events are delivered and every row is final, or until the deadline. Under policies of one's own,
    not every VM must have a row, and a row may wait for something that the demo does not reach."""
    deadline = time.monotonic() + 60 + 0.5 * len(scene.fleet)
    playing = asyncio.create_task(scene.play(laptop.arm, laptop.clock))
    try:
        while time.monotonic() < deadline:
            quiet = playing.done() and not laptop.grid.in_flight
            rows = await read()
            progress.update(scene.created, rows.values())
            if quiet and (own or len(rows) >= len(scene.fleet)) and all(_at_rest(row, own) for row in rows.values()):
                break
            await asyncio.sleep(_POLL)
    finally:
        playing.cancel()
    await _wait_until_published(laptop, await read())


def _at_rest(row: Row, own: bool) -> bool:
    if row.final or not own or row.next_attempt_at is None:
        return row.final
    return row.next_attempt_at - datetime.now(UTC) > _LONG_WAIT


async def _wait_until_published(laptop: Laptop, rows: Mapping[str, Row]) -> None:
    """Outcomes are published after they are written, so the last ones may still be on their way."""
    deadline = time.monotonic() + _ARRIVAL
    while time.monotonic() < deadline:
        arrived = {(str(event["subject"]).lower(), event["data"].get("Outcome")) for event in laptop.topic.events}
        if {(row.vm, row.outcome) for row in rows.values() if row.final} <= arrived:
            return
        await asyncio.sleep(_POLL)


def _evidence(laptop: Laptop, scene: Scene, rows: Mapping[str, Row], host: FunctionsHost) -> Evidence:
    counters, arm = laptop.grid.counters, laptop.arm
    today = [member for member in scene.fleet if member.spec.subscription == TODAY]
    return Evidence(
        fleet=scene.fleet,
        rows=rows,
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


async def _report(
    laptop: Laptop,
    evidence: Evidence,
    checks: Sequence[Check],
    ledger: Ledger,
    host: FunctionsHost,
    began: float,
    secrets: Mapping[str, str],
) -> Report:
    """The report; `secrets` are those of the policies, by the names of their app settings."""
    took = time.monotonic() - began
    operations = sorted(laptop.arm.scopes.needed.of(laptop.arm.options.principal_id))
    report = Report(sort_rows(evidence.rows), figures(evidence), checks, took, laptop.cloud_options.scale, operations)
    texts = {
        "table": repr(await ledger.everything()),
        "queue": await _messages(laptop.azurite.connection_string),
        "host's log": host.output(),
        "outcome events": repr(laptop.topic.events),
        "output": report.as_json(),
        "pages": "\n".join((await read_pages(host.url)).values()),
    }
    return replace(report, checks=[*report.checks, search_secrets({**secrets, **laptop.secrets()}, texts)])


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


def _command(args: argparse.Namespace) -> str:
    """The command that shows this, with what decides the fleet."""
    options = [f"--vms {args.vms}", *([f"--seed {args.seed}"] if args.seed != 1 else [])]
    return f'make demo ARGS="{" ".join(options)}"'


def _show(report: Report, console: Console, *, as_json: bool) -> None:
    sys.stdout.write(report.as_json() + "\n" if as_json else report.as_text(console))
    sys.stdout.flush()
