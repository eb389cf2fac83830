"""`python -m bench`: the line beside its floors, measured in one run; writes results and docs/performance.md.

Every figure that can be is a ratio to something that ran in the same minute on the same machine. What is not met is
printed as not met.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.parts import Parts, run_child, running_parts
from bench.report import Figure, page, table

ROOT = Path(__file__).resolve().parents[1]
_CONTESTANTS = ("floor", "sdk", "line")
_LATENCY_MS = 20
_CONCURRENCY = 64
_WARM_UP = 32


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the line beside its floors.")
    parser.add_argument("size", nargs="?", choices=("quick", "full"), default="full")
    quick = parser.parse_args().size == "quick"
    events, rounds = (300, 2) if quick else (1000, 3)
    console = Console()
    with running_parts() as parts:
        figures = measure(parts, events, rounds, console)
    met = [figure for figure in figures if figure.met is False]
    console.print(table(figures))
    _write(figures)
    console.print(f"{len(met)} of {sum(f.met is not None for f in figures)} bounds are not met" if met else "all met")
    return 0


def measure(parts: Parts, events: int, rounds: int, console: Console) -> list[Figure]:
    """Every contestant in turn, `rounds` times; the medians."""
    rates: dict[str, list[float]] = {name: [] for name in _CONTESTANTS}
    cpu: dict[str, list[float]] = {name: [] for name in _CONTESTANTS}
    calls = 0.0
    for number in range(rounds):
        for name in _CONTESTANTS:
            parts.empty_storage()
            parts.record(_LATENCY_MS)
            run = f"{name}{number}"
            taken = _run(name, run, events, parts, concurrency=_CONCURRENCY)
            rates[name].append(taken["events"] / taken["seconds"])
            cpu[name].append(taken["cpu_ms"])
            if name == "line":
                # The warm-up's events are in the record, too.
                calls = sum(parts.record()["calls"].values()) / (taken["events"] + _WARM_UP)
            console.print(f"{name:6} {rates[name][-1]:7.1f} events/s  {cpu[name][-1]:5.2f} ms CPU an event")
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
        Figure("line.arm_calls_per_vm", calls, "GET and PUT"),
        Figure("line.cpu_ms_per_event", statistics.median(cpu["line"]), "CPU of the worker's process"),
        Figure("floor.cpu_ms_per_event", statistics.median(cpu["floor"]), "CPU of the floor's process"),
        Figure("sdk.cpu_ms_per_event", statistics.median(cpu["sdk"]), "CPU of the SDK floor's process"),
    ]


def _run(name: str, run: str, events: int, parts: Parts, *, concurrency: int) -> dict[str, Any]:
    given = {"name": name, "run": run, "events": events, "concurrency": concurrency}
    return run_child("bench.contestants", given, parts.settings)


def _write(figures: list[Figure]) -> None:
    results = ROOT / "bench" / "results" / "latest.json"
    results.parent.mkdir(exist_ok=True)
    measured = {figure.name: round(figure.value, 3) for figure in figures}
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    when = datetime.now(UTC).date().isoformat()
    results.write_text(json.dumps({"date": when, "machine": machine, **measured}, indent=2) + "\n")
    path = ROOT / "docs" / "performance.md"
    path.write_text(page(path.read_text(), figures, f"{when}, {machine}"))


if __name__ == "__main__":
    sys.exit(main())
