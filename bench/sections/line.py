"""A new VM from event to PUT: the product, compared with the two baselines, the script, and its own requests."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench.charts import Chart
from bench.measures import round_trips
from bench.parts import Parts, run_child, watched_storage
from bench.report import Figure, Grid, Section
from bench.run import Run
from bench.scenario import Measurement, Scenario
from bench.workload import CONFIRMED, EQUIPPED, IGNORED

_IMPLEMENTATIONS = ("baseline", "sdk", "product")
_LATENCY_MS, _CONCURRENCY = 20, 64  # the bounds apply to these
_COUNTED = 20


@dataclass(frozen=True, slots=True)
class Size:
    """How much of each is run."""

    events: int
    """Events of one run."""
    rounds: int
    """How often each implementation runs in turn."""
    latencies: tuple[int, ...]
    """Milliseconds of ARM, for the matrix."""
    concurrencies: tuple[int, ...]
    """Concurrent events, for the matrix."""
    cell_s: float
    """The most seconds of one cell of the matrix."""
    paced_rounds: int
    """Rounds at half load."""
    paced_s: float
    """Seconds of one round at half load."""
    anew: bool
    """Whether each of these rounds measures the product's rate again: the speed of a shared machine varies."""


_FULL = Size(1000, 7, (0, 20, 100), (1, 16, 64, 256), 20, 5, 8, anew=True)
_QUICK = Size(120, 2, (), (), 0, 2, 2, anew=False)


def measure(run: Run) -> Section:
    size = _QUICK if run.quick else _FULL
    with run.parts() as parts:
        scenario = Scenario(parts, run)
        scenario.run("baseline", size.events, latency_ms=0, concurrency=_CONCURRENCY)  # Azurite's own warm-up
        comparison, product_rate = _compared(scenario, size)
        figures = [*comparison, *_half_load(scenario, size, product_rate), *_calls(parts, run)]
    if run.quick:
        return Section("line", figures)
    with run.parts() as parts:
        cells = list(_matrix(Scenario(parts, run), size))
    header = ("implementation", "ARM, ms", "at once", "events/s", "p50, ms", "p95, ms", "p99, ms", "CPU, ms an event")
    title = "From delivery to the arrival of the PUT at ARM, by ARM's latency and the number of concurrent events:"
    return Section("line", figures, [Grid(title, header, [_row(cell) for cell in cells])], [_chart(cells)])


def _compared(scenario: Scenario, size: Size) -> tuple[list[Figure], float]:
    """Every implementation in turn, `rounds` times; the figure is the median of the rounds' ratios."""
    measured: dict[str, list[Measurement]] = {name: [] for name in (*_IMPLEMENTATIONS, "bare")}
    for _ in range(size.rounds):
        for name in measured:
            measured[name].append(scenario.run(name, size.events, latency_ms=_LATENCY_MS, concurrency=_CONCURRENCY))
    script = scenario.run("script", min(20, size.events // 10), latency_ms=_LATENCY_MS, concurrency=1)
    rate = statistics.median(each.rate for each in measured["product"])

    def ratio(other: str) -> float:
        pairs = zip(measured["product"], measured[other], strict=True)
        return statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)

    def cpu(name: str) -> float:
        return statistics.median(each.cpu_ms for each in measured[name])

    load = f"at {_LATENCY_MS} ms of ARM and {_CONCURRENCY} at once"
    return [
        Figure("line.events_per_s", rate, load),
        Figure(
            "line.ratio_to_floor", ratio("baseline"), "compared with bare aiohttp and the fewest requests", at_least=0.5
        ),
        Figure(
            "line.ratio_to_bare",
            ratio("bare"),
            "compared with bare aiohttp and the product's own requests, without logic",
        ),
        Figure(
            "line.ratio_to_sdk_floor", ratio("sdk"), "compared with the same through the SDK's clients", at_least=0.9
        ),
        Figure(
            "line.ratio_to_script",
            rate / script.rate,
            "compared with one VM after the other, as scripts do",
            at_least=10,
        ),
        Figure("line.cpu_ms_per_event", cpu("product"), "CPU of the worker's process"),
        Figure("line.floor_cpu_ms_per_event", cpu("baseline"), "CPU of the baseline's process"),
        Figure("line.sdk_cpu_ms_per_event", cpu("sdk"), "CPU of the SDK baseline's process"),
    ], rate


def _half_load(scenario: Scenario, size: Size, product_rate: float) -> list[Figure]:
    """The time that the product adds to its own requests, at half of the load that it can do."""

    def paced(name: str, rate: float) -> Measurement:
        events = int(rate * size.paced_s)
        return scenario.run(name, events, latency_ms=_LATENCY_MS, concurrency=_CONCURRENCY, rate=rate)

    rounds = []
    for _ in range(size.paced_rounds):
        if size.anew:
            product_rate = scenario.run(
                "product", size.events // 2, latency_ms=_LATENCY_MS, concurrency=_CONCURRENCY
            ).rate
        rounds.append((paced("bare", product_rate / 2), paced("product", product_rate / 2)))

    def beyond(share: float) -> float:
        return statistics.median(ours.to_put(share) - bare.to_put(0.5) for bare, ours in rounds)

    rate = statistics.median(ours.rate for _, ours in rounds)
    note = f"from delivery to PUT at {rate:.0f} events/s, minus the median of the same requests by bare aiohttp"
    return [
        Figure("line.overhead_p50_ms", beyond(0.5), f"median {note}", at_most=10),
        Figure("line.overhead_p99_ms", beyond(0.99), f"99th percentile {note}", at_most=50),
    ]


def _calls(parts: Parts, run: Run) -> list[Figure]:
    """The requests of one event to ARM and to storage, one event at a time."""
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
            given = {"name": "product", "run": name, "events": _COUNTED, "concurrency": 1}
            result = run_child("bench.implementations", given, {**settings})
            arm_record = parts.record()
            record_of_storage = [(begin, end) for begin, end, _, _ in record()]
            vms = _COUNTED + 1  # with the warm-up's
            of_arm = sum(arm_record["calls"].values()) / vms
            figures.append(
                Figure(f"line.arm_calls_per_{_key(name)}", of_arm, f"calls to ARM, {what}", exactly, exactly)
            )
            if name == "vm":
                figures += _storage_trips(result, arm_record["puts"], record_of_storage)
            run.say(f"{what}: {of_arm:g} calls to ARM")
    return figures


def _key(name: str) -> str:
    return {"vm": "vm", CONFIRMED: "confirmed_vm", EQUIPPED: "equipped_vm", IGNORED: "ignored_event"}[name]


def _storage_trips(result: dict[str, Any], puts: dict[str, float], requests: list[tuple[float, float]]) -> list[Figure]:
    before, after, counts = [], [], []
    for number, began in result["started"].items():
        put, ended = puts[f"vm-{int(number):06d}"], result["ended"][number]
        own = [(begin, end) for begin, end in requests if began <= begin <= ended]
        counts.append(len(own))
        before.append(round_trips(each for each in own if each[0] < put))
        after.append(round_trips(each for each in own if each[0] >= put))
    return [
        Figure("line.storage_calls_per_vm", statistics.mean(counts), "requests to storage, new VM"),
        Figure(
            "line.storage_trips_before_put", max(before), "round trips to storage before the PUT, new VM", at_most=2
        ),
        Figure("line.storage_trips_after_put", max(after), "round trips to storage after the PUT, new VM", at_most=1),
    ]


type _Cell = tuple[str, int, int, Measurement]


def _matrix(scenario: Scenario, size: Size) -> Iterator[_Cell]:
    for latency, concurrency, name in product(size.latencies, size.concurrencies, _IMPLEMENTATIONS):
        yield (
            name,
            latency,
            concurrency,
            scenario.run(name, size.events, latency_ms=latency, concurrency=concurrency, seconds=size.cell_s),
        )


def _row(cell: _Cell) -> tuple[str, ...]:
    name, latency, concurrency, measured = cell
    percentiles = (f"{measured.to_put(share):.1f}" for share in (0.5, 0.95, 0.99))
    return name, str(latency), str(concurrency), f"{measured.rate:.0f}", *percentiles, f"{measured.cpu_ms:.2f}"


def _chart(cells: list[_Cell]) -> Chart:
    lines = {
        name: [
            (at_once, measured.rate)
            for each, latency, at_once, measured in cells
            if (each, latency) == (name, _LATENCY_MS)
        ]
        for name in _IMPLEMENTATIONS
    }
    return Chart("line-rate", f"Events a second at {_LATENCY_MS} ms of ARM", "events at once", "events a second", lines)
