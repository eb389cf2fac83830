"""A table of 100,000 machines with ten lines of history each: what is due, totals, pruning, and a sweep.

Azurite goes through all entities of the account for each query. So the large table is in `bench.programs.sorted_table`,
where a query costs what it reads, and Azurite has two smaller ones, to show that its time grows with its entities.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.parts import BenchFailed, Parts, run_child
from bench.programs.large_table import LINES, SUBSCRIPTIONS, late, needing_a_person, totals
from bench.report import Figure, Grid, Section
from bench.run import Run
from simulator.azurite import connection_string
from simulator.process import ChildProcess

_PROGRAM = "bench.programs.large_table"
_SHARE_S, _CUT_OFF_S = 30, 45  # of one run of the sweep, for pruning


@dataclass(frozen=True, slots=True)
class Measured:
    """The results for one table."""

    table: str
    vms: int
    entities: int
    prune: Mapping[str, Any]
    sweep: Mapping[str, Any]
    due: Mapping[str, Any]
    totals_s: float


def measure(run: Run) -> Section:
    large, small = (5_000, (500, 1_000)) if run.quick else (100_000, (2_500, 10_000))
    with run.parts() as parts:
        with sorted_table(parts) as settings:
            most = _measure("sorted by keys, in memory", large, parts, settings, run)
        measured = [most]
        for vms in small:
            parts.empty_storage()
            measured.append(_measure("Azurite", vms, parts, parts.settings, run))
    return Section("ledger", _figures(most), [_grid(measured)])


@contextmanager
def sorted_table(parts: Parts) -> Iterator[dict[str, str]]:
    """The settings with the table in a process of its own; the queues stay in Azurite."""
    with ChildProcess("table", [sys.executable, "-m", "bench.programs.sorted_table"], r"^ready (\d+)$") as process:
        endpoints = {**parts.azurite.endpoints, "table": f"http://127.0.0.1:{process.wait_ready()[1]}"}
        yield {**parts.settings, "AzureWebJobsStorage": connection_string(endpoints)}


def _measure(table: str, vms: int, parts: Parts, settings: dict[str, str], run: Run) -> Measured:
    entities = int(run_child(_PROGRAM, {"what": "seed", "vms": vms}, settings)["entities"])
    run.say(f"{table}: {entities:,} entities")
    prune = run_child(_PROGRAM, {"what": "prune"}, settings)
    parts.record(0, vms, SUBSCRIPTIONS)
    sweep = run_child(_PROGRAM, {"what": "sweep"}, settings)
    due = run_child(_PROGRAM, {"what": "due"}, settings)
    shown = run_child("bench.programs.table", {"what": "totals"}, settings)
    run.say(
        f"pruned {prune['rows']:,} rows in {prune['seconds']:.1f} s; swept in {sweep['seconds']:.1f} s,"
        f" {sweep['peak_mb']:.0f} MB; due {due['due_s']:.2f} s, totals {shown['seconds']:.2f} s"
    )
    _check(vms, prune, due, json.loads(shown["last"]))
    return Measured(table, vms, entities, prune, sweep, due, float(shown["seconds"]))


def _check(vms: int, prune: Mapping[str, Any], due: Mapping[str, Any], counted: Mapping[str, Any]) -> None:
    """A figure counts only if the result is correct and complete."""
    if prune["rows"] != vms or due["due"] != late(vms) or due["attention"] != needing_a_person(vms):
        raise BenchFailed(f"of {vms} machines: pruned {prune['rows']}, {due}")
    if counted["outcomes"] != totals(vms) or "asOf" not in counted:
        raise BenchFailed(f"onboard status --totals says {counted}")


def _figures(most: Measured) -> list[Figure]:
    prune, sweep, due = most.prune, most.sweep, most.due
    runs = f"a run has {_SHARE_S} s for it, and is cut off after {_CUT_OFF_S} s"
    return [
        Figure("ledger.vms", most.vms, f"over {SUBSCRIPTIONS} subscriptions, each with {LINES} lines of history"),
        Figure("ledger.entities", most.entities, "in the table"),
        Figure("ledger.due_s", due["due_s"], f"finding the {due['due']:,} machines whose check is late", at_most=1),
        Figure("ledger.attention_s", due["attention_s"], f"reading the {due['attention']:,} rows that need a person"),
        Figure("ledger.totals_s", most.totals_s, "`onboard status --totals`: process start to its end", at_most=1),
        Figure("ledger.totals_query_s", due["totals_s"], "of that, asking the table"),
        Figure("ledger.sweep_s", sweep["seconds"], "the first sweep, which writes all index rows"),
        Figure("ledger.sweep_peak_mb", sweep["peak_mb"], "peak memory of its process", at_most=150),
        Figure("ledger.prune_rows", prune["rows"], "one line of history for each machine"),
        Figure("ledger.prune_s", prune["seconds"], f"a whole round over the table, without a sweep; {runs}"),
        Figure(
            "ledger.prune_step_s",
            prune["longest_s"],
            "the longest step, after which a run may stop",
            at_most=_CUT_OFF_S - _SHARE_S,
        ),
        Figure("ledger.prune_peak_mb", prune["peak_mb"], "peak memory of its process", at_most=150),
    ]


def _grid(measured: list[Measured]) -> Grid:
    header = ("table", "machines", "entities", "due, s", "due, µs an entity", "totals, s", "prune, s", "sweep, MB")
    rows = [
        (
            each.table,
            f"{each.vms:,}",
            f"{each.entities:,}",
            f"{each.due['due_s']:.3f}",
            f"{1e6 * each.due['due_s'] / each.entities:.2f}",
            f"{each.totals_s:.2f}",
            f"{each.prune['seconds']:.1f}",
            f"{each.sweep['peak_mb']:.0f}",
        )
        for each in sorted(measured, key=lambda each: each.entities)
    ]
    return Grid("By the table (Azurite reads all of its entities for each query):", header, rows)
