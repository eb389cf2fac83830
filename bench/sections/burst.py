"""A burst: so many VMs of one subscription within a minute, against the buckets that ARM and Compute count by."""

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
    told = _play(vms, within, 1, run)
    limit, last = _earliest(vms), max(told["puts"])
    beside = (
        f"{vms:,} VMs within {within} s: last PUT after {last:,.0f} s, and the buckets allow it after {limit:,.0f} s"
    )
    return [
        Figure("burst.ratio_to_limit", last / limit, beside, at_most=1.15),
        Figure("burst.share_429", told["refused"] / told["calls"], "of all calls to ARM", at_most=0.02),
        Figure("burst.lost", vms - told["whole"], "VMs that ended otherwise than installed by one PUT", 0, 0),
        Figure("burst.arm_calls_per_vm", told["calls"] / vms, "GET and PUT, and what came to nothing"),
        Figure("burst.looks_per_vm", told["looks"] / vms, "messages on the queue, two of them without a burst"),
    ], told["puts"]


def _two_workers(vms: int, within: int, run: Run) -> list[Figure]:
    """Each knows its own calls, and what ARM tells it."""
    told = _play(vms, within, 2, run)
    share = told["refused"] / told["calls"]
    return [
        Figure("burst.share_429_of_two_workers", share, f"{vms:,} VMs; each knows its own calls and what ARM tells"),
        Figure("burst.lost_by_two_workers", vms - told["whole"], f"of {vms:,} VMs", 0, 0),
    ]


def _play(vms: int, within: int, workers: int, run: Run) -> dict[str, Any]:
    with run.parts() as parts:
        parts.empty_storage()
        told = run_child("bench.programs.burst", {"vms": vms, "within": within, "workers": workers}, parts.settings)
    run.say(
        f"{vms:,} VMs, {workers} worker(s): last PUT after {max(told['puts']):,.0f} s, {told['calls']:,} calls,"
        f" {told['refused']:,} refused, {told['whole']:,} onboarded, {told['looks']:,} looks"
    )
    return told


def _earliest(puts: int) -> float:
    """The second before which nobody can have sent that many."""
    return max(max(0.0, puts - rate.capacity) * 60 / rate.refill for rate in write_buckets())


def _chart(puts: list[float], vms: int, within: int) -> Chart:
    steps = range(1, vms + 1, max(1, vms // 100))
    sent = sorted(puts)
    lines = {
        "sent": [(sent[count - 1], float(count)) for count in steps if count <= len(sent)],
        "the buckets' limit": [(_earliest(count), float(count)) for count in steps],
    }
    return Chart(
        "burst", f"{vms:,} VMs created within {within} s", "seconds", "extensions asked for", lines, dots=False
    )
