"""`python -m simulator storm`: run and check a storm, or several one after the other. The exit code is 0 only if the
invariant holds in every storm."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from simulator.arm import Kind
from simulator.demo.ledger import Ledger, Row, current_rows
from simulator.demo.progress import progress_for
from simulator.demo.report import WIDTH
from simulator.demo.scene import Scene
from simulator.eventgrid import Faults
from simulator.laptop import SUBSCRIPTIONS, CloudOptions, Laptop, forget_settings
from simulator.pages import read_pages, shown_outcomes
from simulator.storm.final_state import expected_rows, migrating, read_final_state
from simulator.storm.fleet import make_storm_fleet
from simulator.storm.hosts import FAILED, Hosts
from simulator.storm.invariant import WAITS_FOR_NEEDED, FinalState, Finding, judge
from simulator.storm.report import Report, Reports
from simulator.storm.storm import SETTINGS, Storm, StormOptions, options
from simulator.storm.targets import OWN, copy_policies
from simulator.storm.versions import Version, export

_AGENTS_ROWS = 2  # of each VM: for the OMS agent and the Azure Monitor Agent
_UNHEARD = ("Microsoft.Insights/*",)  # no source shows such events
_JITTER = 60.0  # simulated seconds by which events are late, and so out of order
_PAUSE = 60.0  # seconds that each pause may add
_LIMIT = 150.0  # seconds, and some more for each VM: two storms may run concurrently on two cores
_SMALL = 100  # VMs; a sweep of more takes some seconds of one core, most of them in Azurite
_EACH = {3: 2.0, 5: 4.0}  # by the number of extensions


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    forget_settings(os.environ)
    console = Console(stderr=args.json)
    if not console.is_terminal:
        console = Console(stderr=args.json, width=WIDTH)
    with TemporaryDirectory(prefix="beside-") as folder:
        beside = [] if args.beside is None else [export(args.beside, Path(folder))]
        report = _one(args, args.seed, beside, console) if args.seeds is None else _several(args, beside, console)
    sys.stdout.write(report.as_json() + "\n" if args.json else report.as_text(console))
    return 0 if report.ok else 1


def _one(args: argparse.Namespace, seed: int, beside: Sequence[Version], console: Console) -> Report:
    storm_options = StormOptions(
        seed,
        args.faults,
        args.duplicates,
        args.lost,
        args.kills,
        copies=args.copies,
        outages=args.outages,
        pauses=args.pauses,
        migrating=args.migrating,
        extensions=args.extensions,
    )
    with TemporaryDirectory(prefix="storm-") as folder:
        return asyncio.run(storm(storm_options, args.vms, Path(folder), console, beside))


def _several(args: argparse.Namespace, beside: Sequence[Version], console: Console) -> Reports:
    runs: dict[int, Report] = {}

    def ended(seed: int, report: Report) -> None:
        runs[seed] = report
        said = "the invariant holds" if report.ok else f"{report.violations} violations"
        console.print(f"Seed {seed}: {said} after {report.figures['seconds']:.1f} s", highlight=False)
        for share in report.shares():
            console.print(f"  {share}", highlight=False)
        for finding in report.findings:
            if not finding.ok:  # at once: a long run may never reach its end
                console.print(report.verdict(finding), highlight=False)

    if args.at_once == 1:
        for number, seed in enumerate(args.seeds, 1):
            console.print(f"Storm {number} of {len(args.seeds)}: seed {seed}", highlight=False)
            ended(seed, _one(args, seed, beside, console))
        return Reports(runs)
    console.print(f"{len(args.seeds)} storms, {args.at_once} at once", highlight=False)
    with ProcessPoolExecutor(args.at_once, mp_context=get_context("spawn")) as pool:
        under_way = {pool.submit(_one_unseen, args, seed, beside): seed for seed in args.seeds}
        for future in as_completed(under_way):
            ended(under_way[future], future.result())
    return Reports({seed: runs[seed] for seed in args.seeds})


def _one_unseen(args: argparse.Namespace, seed: int, beside: Sequence[Version]) -> Report:
    """One of several concurrent storms, without its progress, which would be mixed with that of the others."""
    return _one(args, seed, beside, Console(file=StringIO()))


async def storm(
    storm_options: StormOptions,
    vms: int,
    folder: Path,
    console: Console,
    beside: Sequence[Version] = (),
    limit: float | None = None,
) -> Report:
    """One storm over a fleet of that size; its files are written to `folder`. Hosts of the versions `beside` this one
    take part. It ends after `limit` seconds; None: after the limit of a fleet of that size."""
    began = time.monotonic()
    share = storm_options.migrating if all(version.knows_removals for version in beside) else None
    extensions = storm_options.extensions
    scene = Scene(make_storm_fleet(vms, storm_options.seed, tuple(SUBSCRIPTIONS), share, extensions))
    events = Faults(
        storm_options.duplicates, storm_options.copies, storm_options.lost, jitter=_JITTER, unheard=_UNHEARD
    )
    cloud_options = CloudOptions(
        seed=storm_options.seed, faults=events, storage=folder / "storage", observe=scene.observe, options=options()
    )
    async with Laptop(cloud_options) as laptop, Ledger(laptop.azurite.connection_string) as ledger:
        policies = {} if extensions == 3 else {"ONBOARDING_POLICIES": str(copy_policies(folder / "policies"))}
        hosts = Hosts(laptop, SETTINGS | policies, folder, beside, 5 if vms <= _SMALL else 15)
        storm_run = Storm(storm_options, laptop, scene, hosts)
        try:
            console.print("Starting the functions hosts", highlight=False)
            await hosts.start()
            with progress_for(console, vms, _AGENTS_ROWS + len(OWN[extensions])) as progress:
                longest = limit or _LIMIT + _EACH[extensions] * vms + _PAUSE * storm_options.pauses
                await storm_run.run(ledger, progress, longest)
            laptop.arm.faults.clear()
            await hosts.rest()
            totals = await hosts.totals()
            pages = await read_pages(hosts.url)
            shown = {"onboard status --totals": totals, "the page": await shown_outcomes(hosts.url)}
        finally:
            await hosts.stop()
        entities = await ledger.everything()
        rows = current_rows(entities)
        final_state = await read_final_state(
            laptop,
            hosts,
            entities,
            expected_rows(scene.fleet, laptop, storm_run.others, rows, steps=hosts.steps, extensions=extensions),
            folder / "storage",
            storm_options.outages,
            storm_run.others.identities.written,
            migrating(scene.fleet),
            pages.values(),
            shown | {"the daily totals": await ledger.totals()},
        )
        findings = judge(final_state)
        return Report(
            figures=_figures(laptop, hosts, storm_run, time.monotonic() - began, final_state, extensions),
            faults=dict(laptop.arm.faults.injected.most_common()),
            outcomes=dict(Counter(row.outcome for row in final_state.rows).most_common()),
            silent=final_state.silent,
            gaps=final_state.gaps,
            handled=final_state.handled,
            findings=findings,
            histories=_histories(findings, entities),
            operations=sorted(laptop.arm.scopes.needed.of(laptop.arm.options.principal_id)),
        )


def _figures(
    laptop: Laptop, hosts: Hosts, storm_run: Storm, seconds: float, final_state: FinalState, extensions: int
) -> dict[str, int | float]:
    collisions = len(final_state.collisions)
    requests, counters, log = laptop.arm.requests, laptop.grid.counters, hosts.output()
    outcome_events = Counter(str(event["id"]) for event in laptop.topic.events)
    return {
        "VMs": len(storm_run.fleet),
        "policies": 3 + len(OWN[extensions]) if hosts.removals else 3 if hosts.steps else 2,
        "VMs that migrate": len(migrating(storm_run.fleet)),
        "events": counters.published,
        "delivered twice": counters.duplicated,
        "lost": counters.lost,
        "delivered again": counters.retried,
        "hosts killed": hosts.kills,
        "sweeps": log.count("'Functions.sweep' (Succeeded"),
        "failed runs": log.count(FAILED),
        "ARM calls": len(requests),
        "throttled (429)": sum(request.status == 429 for request in requests),
        "met others' writes": len(laptop.arm.collisions) - collisions,
        "met our own writes": collisions,
        "others' changes of identities": storm_run.others.identities.written.total(),
        "a person's pauses": hosts.pauses,
        "tokens lost by these": final_state.others_breakages,
        "others' removed associations": len(storm_run.others.dissociated),
        "others' removals of our installs": storm_run.others.remover.written.total(),
        "others' installs after our removals": storm_run.others.engine.written.total(),
        "gaps that others began": sum(final_state.gaps.by_others.values()),
        "gaps that our removals began": sum(final_state.gaps.unseen.values()) + final_state.gaps.undone,
        "our changes of identities": requests.count(kind=Kind.VM_PATCH),
        "waits for a failed extension": sum(row.text("WaitingFor") in WAITS_FOR_NEEDED for row in final_state.rows),
        "installed, and sends nothing": sum(final_state.silent.values()),
        "outcomes published": len(outcome_events),
        "published twice": sum(times > 1 for times in outcome_events.values()),
        "seconds until calm": storm_run.seconds,
        "seconds": seconds,
    }


def _histories(findings: Sequence[Finding], entities: Sequence[Mapping[str, object]]) -> dict[str, list[Row]]:
    """The lines of history of the VMs with a violation, oldest first."""
    wanted = {violation.vm for finding in findings for violation in finding.violations}
    lines = [Row(entity) for entity in entities if str(entity["RowKey"]).startswith("log|")]
    lines.sort(key=lambda row: row.text("EventTime"))
    return {vm: [line for line in lines if line.vm == vm] for vm in wanted if vm}
