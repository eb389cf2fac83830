"""The three steps of the Azure Monitor Agent (identity, association, extension) beside one step, in the same run: new
VMs from their first event until the extension is confirmed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from bench.measures import round_trips
from bench.parts import BenchFailed, Parts, run_child, watched_storage
from bench.report import Figure, Grid, Section
from bench.run import Run
from bench.workload import FITTING, ONE_STEP, RULE, WITHOUT

_LATENCY_MS, _CONCURRENCY = 20, 64
_COUNTED = 20
POLICY = {
    "name": "azure-monitor",
    "extension": "azure-monitor-agent-linux",
    "supportTable": "2026-05",  # it has the system of the bench's VMs
    "identity": {"use": "any", "add": "system"},
    "dataCollectionRules": [RULE],
}


@dataclass(frozen=True, slots=True)
class _Case:
    """One kind of VM; `calls` are its calls to ARM, `at_most` its cost in costs of one step."""

    run: str
    what: str
    calls: int
    at_most: float = 1.0


_ONE = _Case(ONE_STEP, "one step", 3)
_THREE = (
    _Case(FITTING, "three steps, VM with a fitting identity", 4, 1.5),
    _Case(WITHOUT, "three steps, VM without an identity", 6, 2.0),
)
_CASES = (_ONE, *_THREE)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one VM takes, in milliseconds."""

    cpu: float
    time: float


def measure(run: Run) -> Section:
    events, rounds = (120, 2) if run.quick else (600, 7)
    with _settings() as settings, run.parts() as parts:
        _run(parts, _ONE, settings(_ONE, parts.settings), events, _CONCURRENCY)  # Azurite's own warm-up
        costs: dict[str, list[_Cost]] = {case.run: [] for case in _CASES}
        for _ in range(rounds):
            for case in _CASES:
                taken = _run(parts, case, settings(case, parts.settings), events, _CONCURRENCY)
                cost = _Cost(taken["cpu_ms"], 1000 * taken["seconds"] / taken["events"])
                run.say(f"{case.what:40} {cost.cpu:5.2f} ms CPU, {cost.time:5.2f} ms of the worker for each VM")
                costs[case.run].append(cost)
        with watched_storage(parts) as (watched, record):
            trips = {case.run: _trips(parts, case, settings(case, watched), record) for case in _CASES}
    return Section("steps", list(_figures(costs, trips)), [_grid(costs, trips)])


@contextmanager
def _settings() -> Iterator[Callable[[_Case, Mapping[str, str]], dict[str, str]]]:
    """Gives the settings of a case: those of all, and where three steps are wanted the policy for them."""
    with TemporaryDirectory(prefix="bench-policies-") as folder:
        (Path(folder) / "azure-monitor.yaml").write_text(yaml.safe_dump(POLICY))
        yield lambda case, given: {**given} if case is _ONE else {**given, "ONBOARDING_POLICIES": folder}


def _run(parts: Parts, case: _Case, settings: Mapping[str, str], events: int, concurrency: int) -> dict[str, Any]:
    """One run on empty storage. Raises BenchFailed if a VM took other calls to ARM than its case has."""
    parts.empty_storage()
    parts.record(_LATENCY_MS if concurrency > 1 else 0)
    given = {"name": "product", "run": case.run, "events": events, "concurrency": concurrency}
    taken = run_child("bench.implementations", given, settings)
    calls = parts.record()["calls"]
    vms = events + min(32, concurrency)  # with the warm-up's
    if sum(calls.values()) != case.calls * vms:
        raise BenchFailed(f"{case.what}: {calls} calls to ARM for {vms} VMs; {case.calls} each are right")
    return taken


def _trips(parts: Parts, case: _Case, settings: Mapping[str, str], record: Callable[[], list[list[Any]]]) -> float:
    """How often one VM waits for storage, one VM at a time."""
    record()
    taken = _run(parts, case, settings, _COUNTED, 1)
    requests = [(begin, end) for begin, end, _, _ in record()]
    spans = [(began, taken["ended"][number]) for number, began in taken["started"].items()]
    return statistics.mean(round_trips(each for each in requests if began <= each[0] <= end) for began, end in spans)


def _figures(costs: Mapping[str, list[_Cost]], trips: Mapping[str, float]) -> Iterator[Figure]:
    """The medians of the rounds' ratios to one step."""
    ones = costs[ONE_STEP]
    for case in _THREE:
        pairs = list(zip(costs[case.run], ones, strict=True))
        cpu = statistics.median(each.cpu / one.cpu for each, one in pairs)
        time = statistics.median(each.time / one.time for each, one in pairs)
        ratios = {
            "cpu": (cpu, "CPU for each VM"),
            "time": (time, "time of a busy worker for each VM"),
            "storage": (trips[case.run] / trips[ONE_STEP], "round trips to storage for each VM"),
        }
        for name, (ratio, what) in ratios.items():
            note = f"{what}, compared with one step: {case.what}"
            yield Figure(f"steps.{case.run}_{name}_ratio", ratio, note, at_most=case.at_most)


def _grid(costs: Mapping[str, list[_Cost]], trips: Mapping[str, float]) -> Grid:
    load = f"{_LATENCY_MS} ms of ARM and {_CONCURRENCY} at once"
    title = f"Each VM from its first event to the confirmed extension, at {load}:"
    header = ("VM", "calls to ARM", "CPU, ms", "time, ms", "round trips to storage")
    rows = []
    for case in _CASES:
        cpu, time = (statistics.median(getattr(each, name) for each in costs[case.run]) for name in ("cpu", "time"))
        rows.append((case.what, str(case.calls), f"{cpu:.2f}", f"{time:.2f}", f"{trips[case.run]:g}"))
    return Grid(title, header, rows)
