"""How many messages a worker should have at work at once: the reason for the numbers in host.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.charts import Chart
from bench.course import Course, Taken
from bench.report import Figure, Grid, Section
from bench.run import Run

_HOST = Path(__file__).resolve().parents[2] / "host.json"
_LATENCY_MS = 20  # where the bound holds: the faster ARM is, the sooner a worker is busy


@dataclass(frozen=True, slots=True)
class Plan:
    """How many rounds at each latency, and which numbers of messages beside the chosen one and twice that."""

    events: int
    cell_s: int
    rounds: Mapping[int, int]
    others: tuple[int, ...]


_FULL = Plan(500, 10, {20: 5, 100: 1}, (1, 8, 16, 32, 64))
_QUICK = Plan(200, 10, {20: 1}, ())


@dataclass(frozen=True, slots=True)
class Cell:
    """So many messages at once, and the run of each round."""

    latency_ms: int
    at_once: int
    runs: list[Taken]

    @property
    def taken(self) -> Taken:
        """The run in the middle."""
        return sorted(self.runs, key=lambda taken: taken.rate)[len(self.runs) // 2]


def measure(run: Run) -> Section:
    chosen = _chosen()
    plan = _QUICK if run.quick else _FULL
    with run.parts() as parts:
        course = Course(parts, run)
        if not run.quick:
            course.run("visits", plan.events, latency_ms=_LATENCY_MS, concurrency=chosen)  # Azurite's own warm-up
        cells = [cell for latency, rounds in plan.rounds.items() for cell in _cells(course, plan, latency, rounds)]
    return Section("queue", _figures(cells, chosen), [_grid(cells, chosen)], [_chart(cells)])


def _cells(course: Course, plan: Plan, latency: int, rounds: int) -> list[Cell]:
    """Every number in turn, so many times."""
    taken: dict[int, list[Taken]] = {at_once: [] for at_once in sorted({_chosen(), 2 * _chosen(), *plan.others})}
    for _ in range(rounds):
        for at_once, runs in taken.items():
            given = {"latency_ms": latency, "concurrency": at_once, "seconds": plan.cell_s}
            runs.append(course.run("visits", plan.events, **given))
    return [Cell(latency, at_once, runs) for at_once, runs in taken.items()]


def _chosen() -> int:
    """The host fetches more while no more than the threshold are at work."""
    queues = json.loads(_HOST.read_text())["extensions"]["queues"]
    return int(queues["batchSize"]) + int(queues["newBatchThreshold"])


def _figures(cells: list[Cell], chosen: int) -> list[Figure]:
    fast = {cell.at_once: cell for cell in cells if cell.latency_ms == _LATENCY_MS}
    ours, twice = fast[chosen], fast[2 * chosen]
    load = f"visits to new VMs at {_LATENCY_MS} ms of ARM"
    share = statistics.median(few.rate / many.rate for few, many in zip(ours.runs, twice.runs, strict=True))
    return [
        Figure("queue.at_once", chosen, "batchSize and newBatchThreshold of host.json"),
        Figure("queue.visits_per_s", ours.taken.rate, f"{load}, {chosen} at once"),
        Figure("queue.share_of_twice", share, "of the rate of twice as many, in the same round", at_least=0.7),
        Figure("queue.p95_ms", ours.taken.way(0.95), f"from the message to ARM's having the PUT, {chosen} at once"),
    ]


def _grid(cells: list[Cell], chosen: int) -> Grid:
    header = ("ARM, ms", "at once", "visits/s", "p50, ms", "p95, ms", "CPU, ms a visit", "")
    rows = [
        (
            str(cell.latency_ms),
            str(cell.at_once),
            f"{cell.taken.rate:.0f}",
            *(f"{cell.taken.way(share):.0f}" for share in (0.5, 0.95)),
            f"{cell.taken.cpu_ms:.2f}",
            "host.json" if cell.at_once == chosen else "",
        )
        for cell in cells
    ]
    return Grid("By how many messages are at work at once:", header, rows)


def _chart(cells: list[Cell]) -> Chart:
    lines = {
        f"{latency} ms of ARM": [(float(cell.at_once), cell.taken.rate) for cell in cells if cell.latency_ms == latency]
        for latency in dict.fromkeys(cell.latency_ms for cell in cells)
    }
    return Chart("queue", "Visits a second by messages at work at once", "messages at once", "visits a second", lines)
