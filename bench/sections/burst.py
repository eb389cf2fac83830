"""A burst: many VMs of one subscription within a minute, against the token buckets of ARM and Compute."""

from __future__ import annotations

from typing import Any

from bench.charts import Chart
from bench.parts import run_child
from bench.report import Figure, Section
from bench.run import Run
from simulator.arm.http.limits import write_buckets


def measure(run: Run) -> Section:
    vms, within = (500, 30) if run.quick else (10_000, 60)
    figures, puts = _one_worker(vms, within, run)
    if not run.quick:
        figures += _two_workers(2_000, within, run)
    return Section("burst", figures, charts=[_chart(puts, vms, within)])


def _one_worker(vms: int, within: int, run: Run) -> tuple[list[Figure], list[float]]:
    result = _play(vms, within, 1, run)
    limit, last = _earliest(vms), max(result["puts"])
    note = f"{vms:,} VMs within {within} s: last PUT after {last:,.0f} s, and the buckets allow it after {limit:,.0f} s"
    return [
        Figure("burst.ratio_to_limit", last / limit, note, at_most=1.15),
        Figure("burst.share_429", result["refused"] / result["calls"], "of all calls to ARM", at_most=0.02),
        Figure("burst.lost", vms - result["whole"], "VMs that were not installed by exactly one PUT", 0, 0),
        Figure("burst.arm_calls_per_vm", result["calls"] / vms, "GET and PUT, and calls that had no effect"),
        Figure("burst.looks_per_vm", result["checks"] / vms, "messages on the queue; without a burst, two"),
    ], result["puts"]


def _two_workers(vms: int, within: int, run: Run) -> list[Figure]:
    """Each worker knows its own calls and ARM's answers to them."""
    result = _play(vms, within, 2, run)
    share = result["refused"] / result["calls"]
    return [
        Figure(
            "burst.share_429_of_two_workers", share, f"{vms:,} VMs; each worker knows its own calls and ARM's answers"
        ),
        Figure("burst.lost_by_two_workers", vms - result["whole"], f"of {vms:,} VMs", 0, 0),
    ]


def _play(vms: int, within: int, workers: int, run: Run) -> dict[str, Any]:
    with run.parts() as parts:
        parts.empty_storage()
        result = run_child("bench.programs.burst", {"vms": vms, "within": within, "workers": workers}, parts.settings)
    run.say(
        f"{vms:,} VMs, {workers} worker(s): last PUT after {max(result['puts']):,.0f} s, {result['calls']:,} calls,"
        f" {result['refused']:,} refused, {result['whole']:,} onboarded, {result['checks']:,} scheduled checks"
    )
    return result


def _earliest(puts: int) -> float:
    """The earliest second at which that many can have been sent."""
    return max(max(0.0, puts - rate.capacity) * 60 / rate.refill for rate in write_buckets())


def _chart(puts: list[float], vms: int, within: int) -> Chart:
    steps = range(1, vms + 1, max(1, vms // 100))
    sent = sorted(puts)
    lines = {
        "sent": [(sent[count - 1], float(count)) for count in steps if count <= len(sent)],
        "the buckets' limit": [(_earliest(count), float(count)) for count in steps],
    }
    return Chart(
        "burst", f"{vms:,} VMs created within {within} s", "seconds", "extensions requested", lines, dots=False
    )
