"""The way of a new VM through the product, beside the floor, the SDK floor, the script, and its own requests alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench.charts import Chart
from bench.course import Course, Taken
from bench.measures import round_trips
from bench.parts import Parts, run_child, watched_storage
from bench.report import Figure, Grid, Section
from bench.run import Run
from bench.workload import CONFIRMED, EQUIPPED, IGNORED

_CONTESTANTS = ("floor", "sdk", "line")
_LATENCY_MS, _CONCURRENCY = 20, 64  # where the bounds hold
_COUNTED = 20


@dataclass(frozen=True, slots=True)
class Size:
    """How much of each is run; no cell of the matrix takes longer than `cell_s`. `anew`: each paced round finds the
    product's rate for itself, since a machine that others share is not as fast all the time."""

    events: int
    rounds: int
    latencies: tuple[int, ...]
    concurrencies: tuple[int, ...]
    cell_s: float
    paced_rounds: int
    paced_s: float
    anew: bool


_FULL = Size(1000, 7, (0, 20, 100), (1, 16, 64, 256), 20, 5, 8, anew=True)
_QUICK = Size(120, 2, (), (), 0, 2, 2, anew=False)


def measure(run: Run) -> Section:
    size = _QUICK if run.quick else _FULL
    with run.parts() as parts:
        course = Course(parts, run)
        course.run("floor", size.events, latency_ms=0, concurrency=_CONCURRENCY)  # Azurite's own warm-up
        race, line_rate = _race(course, size)
        figures = [*race, *_half_load(course, size, line_rate), *_calls(parts, run)]
    if run.quick:
        return Section("line", figures)
    with run.parts() as parts:
        cells = list(_matrix(Course(parts, run), size))
    header = ("contestant", "ARM, ms", "at once", "events/s", "p50, ms", "p95, ms", "p99, ms", "CPU, ms an event")
    title = "From delivery to ARM's having the PUT, by how long ARM takes and how many events are at work:"
    return Section("line", figures, [Grid(title, header, [_row(cell) for cell in cells])], [_chart(cells)])


def _race(course: Course, size: Size) -> tuple[list[Figure], float]:
    """Every contestant in turn, `rounds` times; each round has its ratios, and the median of those counts."""
    taken: dict[str, list[Taken]] = {name: [] for name in _CONTESTANTS}
    for _ in range(size.rounds):
        for name in _CONTESTANTS:
            taken[name].append(course.run(name, size.events, latency_ms=_LATENCY_MS, concurrency=_CONCURRENCY))
    script = course.run("script", min(20, size.events // 10), latency_ms=_LATENCY_MS, concurrency=1)
    rate = statistics.median(each.rate for each in taken["line"])

    def ratio(other: str) -> float:
        pairs = zip(taken["line"], taken[other], strict=True)
        return statistics.median(line.rate / floor.rate for line, floor in pairs)

    def cpu(name: str) -> float:
        return statistics.median(each.cpu_ms for each in taken[name])

    load = f"at {_LATENCY_MS} ms of ARM and {_CONCURRENCY} at once"
    return [
        Figure("line.events_per_s", rate, load),
        Figure("line.ratio_to_floor", ratio("floor"), "to bare aiohttp with the least requests", at_least=0.5),
        Figure("line.ratio_to_sdk_floor", ratio("sdk"), "to the same through the SDK's clients", at_least=0.9),
        Figure("line.ratio_to_script", rate / script.rate, "to one VM after the other, as scripts do", at_least=10),
        Figure("line.cpu_ms_per_event", cpu("line"), "CPU of the worker's process"),
        Figure("line.floor_cpu_ms_per_event", cpu("floor"), "CPU of the floor's process"),
        Figure("line.sdk_cpu_ms_per_event", cpu("sdk"), "CPU of the SDK floor's process"),
    ], rate


def _half_load(course: Course, size: Size, line_rate: float) -> list[Figure]:
    """What the product adds to its own requests when it has half of what it can do."""

    def paced(name: str, rate: float) -> Taken:
        events = int(rate * size.paced_s)
        return course.run(name, events, latency_ms=_LATENCY_MS, concurrency=_CONCURRENCY, rate=rate)

    rounds = []
    for _ in range(size.paced_rounds):
        if size.anew:
            line_rate = course.run("line", size.events // 2, latency_ms=_LATENCY_MS, concurrency=_CONCURRENCY).rate
        rounds.append((paced("bare", line_rate / 2), paced("line", line_rate / 2)))

    def beyond(share: float) -> float:
        return statistics.median(line.way(share) - bare.way(0.5) for bare, line in rounds)

    rate = statistics.median(line.rate for _, line in rounds)
    beside = f"of deliveries to PUT at {rate:.0f} events/s, beyond the median of the same requests by bare aiohttp"
    return [
        Figure("line.overhead_p50_ms", beyond(0.5), f"median {beside}", at_most=10),
        Figure("line.overhead_p99_ms", beyond(0.99), f"99th percentile {beside}", at_most=50),
    ]


def _calls(parts: Parts, run: Run) -> list[Figure]:
    """What one event asks of ARM and of storage, one at a time."""
    figures = []
    with watched_storage(parts) as (settings, record):
        wanted = (
            ("vm", "new VM, until its install is under way", 2),
            (CONFIRMED, "new VM, until its install is confirmed", 3),
            (EQUIPPED, "VM that needs nothing", 1),
            (IGNORED, "event of something else", 0),
        )
        for name, what, exactly in wanted:
            parts.empty_storage()
            parts.record(0)
            given = {"name": "line", "run": name, "events": _COUNTED, "concurrency": 1}
            told = run_child("bench.contestants", given, {**settings})
            asked = parts.record()
            record_of_storage = [(begin, end) for begin, end, _, _ in record()]
            vms = _COUNTED + 1  # with the warm-up's
            of_arm = sum(asked["calls"].values()) / vms
            figures.append(
                Figure(f"line.arm_calls_per_{_key(name)}", of_arm, f"calls to ARM, {what}", exactly, exactly)
            )
            if name == "vm":
                figures += _storage_trips(told, asked["puts"], record_of_storage)
            run.say(f"{what}: {of_arm:g} calls to ARM")
    return figures


def _key(name: str) -> str:
    return {"vm": "vm", CONFIRMED: "confirmed_vm", EQUIPPED: "equipped_vm", IGNORED: "ignored_event"}[name]


def _storage_trips(told: dict[str, Any], puts: dict[str, float], requests: list[tuple[float, float]]) -> list[Figure]:
    before, after, asked = [], [], []
    for number, began in told["started"].items():
        put, ended = puts[f"vm-{int(number):06d}"], told["ended"][number]
        own = [(begin, end) for begin, end in requests if began <= begin <= ended]
        asked.append(len(own))
        before.append(round_trips(each for each in own if each[0] < put))
        after.append(round_trips(each for each in own if each[0] >= put))
    return [
        Figure("line.storage_calls_per_vm", statistics.mean(asked), "requests to storage, new VM"),
        Figure("line.storage_trips_before_put", max(before), "ways to storage and back, new VM", at_most=2),
        Figure("line.storage_trips_after_put", max(after), "ways to storage and back, new VM", at_most=1),
    ]


type _Cell = tuple[str, int, int, Taken]


def _matrix(course: Course, size: Size) -> Iterator[_Cell]:
    for latency, concurrency, name in product(size.latencies, size.concurrencies, _CONTESTANTS):
        yield (
            name,
            latency,
            concurrency,
            course.run(name, size.events, latency_ms=latency, concurrency=concurrency, seconds=size.cell_s),
        )


def _row(cell: _Cell) -> tuple[str, ...]:
    name, latency, concurrency, taken = cell
    ways = (f"{taken.way(share):.1f}" for share in (0.5, 0.95, 0.99))
    return name, str(latency), str(concurrency), f"{taken.rate:.0f}", *ways, f"{taken.cpu_ms:.2f}"


def _chart(cells: list[_Cell]) -> Chart:
    lines = {
        name: [
            (at_once, taken.rate) for each, latency, at_once, taken in cells if (each, latency) == (name, _LATENCY_MS)
        ]
        for name in _CONTESTANTS
    }
    return Chart("line-rate", f"Events a second at {_LATENCY_MS} ms of ARM", "events at once", "events a second", lines)
