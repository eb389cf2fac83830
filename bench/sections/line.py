"""The way of a new VM through the product, beside the floor, the SDK floor and the script."""

from __future__ import annotations

import statistics
from typing import Any

from bench.parts import Parts, run_child, running_parts
from bench.report import Figure, Section
from bench.run import Run

_CONTESTANTS = ("floor", "sdk", "line")
_LATENCY_MS = 20
_CONCURRENCY = 64
_WARM_UP = 32


def measure(run: Run) -> Section:
    events, rounds = (300, 2) if run.quick else (1000, 3)
    with running_parts() as parts:
        return Section("line", _race(parts, events, rounds, run))


def _race(parts: Parts, events: int, rounds: int, run: Run) -> list[Figure]:
    """Every contestant in turn, `rounds` times; the medians."""
    rates: dict[str, list[float]] = {name: [] for name in _CONTESTANTS}
    cpu: dict[str, list[float]] = {name: [] for name in _CONTESTANTS}
    calls = 0.0
    for number in range(rounds):
        for name in _CONTESTANTS:
            parts.empty_storage()
            parts.record(_LATENCY_MS)
            taken = _run(name, f"{name}{number}", events, parts, concurrency=_CONCURRENCY)
            rates[name].append(taken["events"] / taken["seconds"])
            cpu[name].append(taken["cpu_ms"])
            if name == "line":
                # The warm-up's events are in the record, too.
                calls = sum(parts.record()["calls"].values()) / (taken["events"] + _WARM_UP)
            run.say(f"{name:6} {rates[name][-1]:7.1f} events/s  {cpu[name][-1]:5.2f} ms CPU an event")
    parts.empty_storage()
    parts.record(_LATENCY_MS)
    script = _run("script", "script", 20, parts, concurrency=1)
    one_by_one = script["events"] / script["seconds"]
    rate = {name: statistics.median(values) for name, values in rates.items()}
    return [
        Figure("line.events_per_s", rate["line"], f"at {_LATENCY_MS} ms of ARM and {_CONCURRENCY} at once"),
        Figure("line.ratio_to_sdk_floor", rate["line"] / rate["sdk"], "the SDK's clients as they come", at_least=0.9),
        Figure("line.ratio_to_floor", rate["line"] / rate["floor"], "bare aiohttp, the same requests", at_least=0.5),
        Figure("line.ratio_to_script", rate["line"] / one_by_one, "one VM after the other", at_least=10),
        Figure("line.arm_calls_per_vm", calls, "GET and PUT", at_least=2, at_most=2),
        Figure("line.cpu_ms_per_event", statistics.median(cpu["line"]), "CPU of the worker's process"),
        Figure("line.floor_cpu_ms_per_event", statistics.median(cpu["floor"]), "CPU of the floor's process"),
        Figure("line.sdk_cpu_ms_per_event", statistics.median(cpu["sdk"]), "CPU of the SDK floor's process"),
    ]


def _run(name: str, run: str, events: int, parts: Parts, *, concurrency: int) -> dict[str, Any]:
    given = {"name": name, "run": run, "events": events, "concurrency": concurrency}
    return run_child("bench.contestants", given, parts.settings)
