"""The worker's memory after many events."""

from __future__ import annotations

from bench.charts import Chart
from bench.parts import BenchFailed, run_child
from bench.report import Figure, Section
from bench.run import Run

_EVENTS, _EACH = 10_000, 250
_SETTLED = 2_000  # by then all long-lived objects exist: connections, caches, compiled patterns


def measure(run: Run) -> Section:
    """A quick run has as many events, but most of them are not about a VM."""
    new = 20 if run.quick else 1
    with run.parts() as parts:
        parts.record(0)
        parts.empty_storage()
        result = run_child("bench.programs.memory", {"events": _EVENTS, "each": _EACH, "new": new}, parts.settings)
        onboarded = parts.record()["calls"]["put"]
    if onboarded != _EVENTS // new:
        raise BenchFailed(f"{onboarded} installs were requested instead of {_EVENTS // new}")
    grown = [(int(number), float(megabytes)) for number, megabytes in result["resident_mb"]]
    first, last = grown[0][1], grown[-1][1]
    settled = next(megabytes for number, megabytes in grown if number >= _SETTLED)
    growth = 1024 * (last - settled) / ((_EVENTS - _SETTLED) / 1000)
    run.say(
        f"{first:.1f} MB after the first event, {settled:.1f} MB after {_SETTLED:,}, {last:.1f} MB after {_EVENTS:,}"
    )
    figures = [
        Figure("memory.after_first_mb", first, "resident memory of the worker's process after its first event"),
        Figure("memory.after_10000_mb", last, f"the same after {_EVENTS:,} events, {onboarded:,} of new VMs"),
        Figure("memory.growth_kb_per_1000", growth, f"from event {_SETTLED:,} to event {_EVENTS:,}", at_most=256),
    ]
    title = "Resident memory of the worker"
    return Section("memory", figures, charts=[Chart("memory", title, "events", "MB", {"worker": grown}, dots=False)])
