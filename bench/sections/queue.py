"""How many messages a worker should handle concurrently: the reason for the numbers in host.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.charts import Chart
from bench.report import Figure, Grid, Section
from bench.run import Run
from bench.scenario import Measurement, Scenario

_HOST = Path(__file__).resolve().parents[2] / "host.json"
_LATENCY_MS = 20  # the bound applies to this: the faster ARM is, the sooner a worker is busy


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    events: int
    """Messages of one run."""
    cell_s: int
    """The most seconds of one run."""
    rounds: Mapping[int, int]
    """Rounds, by milliseconds of ARM."""
    others: tuple[int, ...]
    """Numbers of concurrent messages, besides the chosen one and twice that."""


_FULL = Plan(500, 10, {20: 5, 100: 1}, (1, 8, 16, 32, 64))
_QUICK = Plan(200, 10, {20: 1}, ())


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of concurrent messages, and its run of each round."""

    latency_ms: int
    at_once: int
    runs: list[Measurement]

    @property
    def measured(self) -> Measurement:
        """The run with the median rate."""
        return sorted(self.runs, key=lambda measured: measured.rate)[len(self.runs) // 2]


def measure(run: Run) -> Section:
    chosen = _chosen()
    plan = _QUICK if run.quick else _FULL
    with run.parts() as parts:
        scenario = Scenario(parts, run)
        if not run.quick:
            scenario.run("messages", plan.events, latency_ms=_LATENCY_MS, concurrency=chosen)  # Azurite's own warm-up
        cells = [cell for latency, rounds in plan.rounds.items() for cell in _cells(scenario, plan, latency, rounds)]
    return Section("queue", _figures(cells, chosen), [_grid(cells, chosen)], [_chart(cells)])


def _cells(scenario: Scenario, plan: Plan, latency: int, rounds: int) -> list[Cell]:
    """Every number in turn, `rounds` times."""
    measured: dict[int, list[Measurement]] = {
        at_once: [] for at_once in sorted({_chosen(), 2 * _chosen(), *plan.others})
    }
    for _ in range(rounds):
        for at_once, runs in measured.items():
            given = {"latency_ms": latency, "concurrency": at_once, "seconds": plan.cell_s}
            runs.append(scenario.run("messages", plan.events, **given))
    return [Cell(latency, at_once, runs) for at_once, runs in measured.items()]


def _chosen() -> int:
    """The host fetches a batch while no more than the threshold are being handled."""
    queues = json.loads(_HOST.read_text())["extensions"]["queues"]
    return int(queues["batchSize"]) + int(queues["newBatchThreshold"])


def _figures(cells: list[Cell], chosen: int) -> list[Figure]:
    fast = {cell.at_once: cell for cell in cells if cell.latency_ms == _LATENCY_MS}
    ours, twice = fast[chosen], fast[2 * chosen]
    load = f"messages about new VMs at {_LATENCY_MS} ms of ARM"
    share = statistics.median(few.rate / many.rate for few, many in zip(ours.runs, twice.runs, strict=True))
    return [
        Figure("queue.at_once", chosen, "batchSize and newBatchThreshold of host.json"),
        Figure("queue.visits_per_s", ours.measured.rate, f"{load}, {chosen} at once"),
        Figure("queue.share_of_twice", share, "of the rate with twice as many, in the same round", at_least=0.7),
        Figure(
            "queue.p95_ms",
            ours.measured.to_put(0.95),
            f"from the message to the arrival of the PUT at ARM, {chosen} at once",
        ),
    ]


def _grid(cells: list[Cell], chosen: int) -> Grid:
    header = ("ARM, ms", "at once", "messages/s", "p50, ms", "p95, ms", "CPU, ms a message", "")
    rows = [
        (
            str(cell.latency_ms),
            str(cell.at_once),
            f"{cell.measured.rate:.0f}",
            *(f"{cell.measured.to_put(share):.0f}" for share in (0.5, 0.95)),
            f"{cell.measured.cpu_ms:.2f}",
            "host.json" if cell.at_once == chosen else "",
        )
        for cell in cells
    ]
    return Grid("By the number of concurrent messages:", header, rows)


def _chart(cells: list[Cell]) -> Chart:
    lines = {
        f"{latency} ms of ARM": [
            (float(cell.at_once), cell.measured.rate) for cell in cells if cell.latency_ms == latency
        ]
        for latency in dict.fromkeys(cell.latency_ms for cell in cells)
    }
    return Chart("queue", "Messages a second by concurrent messages", "messages at once", "messages a second", lines)
