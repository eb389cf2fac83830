"""A sweep over a subscription full of VMs of which one in a hundred lost its extension, by how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.charts import Chart
from bench.parts import Parts, run_child
from bench.programs.fleet import LACKING, PAGE
from bench.report import Figure, Grid, Section
from bench.run import Run

_VISITS = 20  # so many of those that were asked for are made


@dataclass(frozen=True, slots=True)
class Swept:
    """One size. Seconds and MB are those of the sweep's process; `calls` are ARM's record before and after visits."""

    vms: int
    told: dict[str, Any]
    calls: dict[str, int]
    reading: dict[str, Any]

    @property
    def graph_pages(self) -> int:
        return self.calls["graph"]

    @property
    def of_visits(self) -> int:
        return sum(self.calls.get(kind, 0) for kind in ("get", "put"))

    @property
    def beside(self) -> int:
        """Calls of the sweep that are neither a page nor a visit."""
        return sum(self.calls.values()) - self.graph_pages - self.of_visits

    @property
    def cpu_us(self) -> float:
        return 1e6 * float(self.told["cpu_s"]) / self.vms


def measure(run: Run) -> Section:
    sizes = (500, 1_500, 4_000) if run.quick else (1_000, 10_000, 100_000)
    with run.parts() as parts:
        swept = [_sweep(parts, vms, run) for vms in sizes]
    return Section("sweep", _figures(swept), [_grid(swept)], [_chart(swept)])


def _sweep(parts: Parts, vms: int, run: Run) -> Swept:
    parts.empty_storage()
    run_child("bench.programs.fleet", {"vms": vms}, parts.settings)
    parts.record(0, vms)
    reading = run_child("bench.programs.sweep", {"what": "reading"}, parts.settings)
    parts.record(0, vms)
    told = run_child("bench.programs.sweep", {"what": "sweep", "visits": _VISITS}, parts.settings)
    swept = Swept(vms, told, parts.record()["calls"], reading)
    run.say(
        f"{vms:,} VMs: {told['seconds']:.2f} s, of CPU {told['cpu_s']:.2f} s, {swept.graph_pages} pages,"
        f" {told['found']:,} to be visited, {told['peak_mb']:.0f} MB; reading alone {reading['seconds']:.2f} s"
    )
    return swept


def _figures(swept: list[Swept]) -> list[Figure]:
    small, medium, most = swept
    vms, told = most.vms, most.told
    lacking = vms // LACKING
    pages = -(-vms // PAGE)
    ratio = told["seconds"] / most.reading["seconds"]
    return [
        Figure("sweep.vms", vms, "all with a row in the table, one in a hundred without the extension"),
        Figure("sweep.seconds", told["seconds"], "from the timer to the last visit's being on the queue"),
        Figure("sweep.calls", most.graph_pages + most.beside, "calls to ARM: the pages, and a list of subscriptions"),
        Figure("sweep.pages", most.graph_pages, f"queries to Resource Graph, {PAGE:,} VMs each", pages, pages),
        Figure("sweep.calls_beside_pages", most.beside, "the list of subscriptions, as the policy names none", 1, 1),
        Figure("sweep.visits", told["found"], "VMs that it asked to be visited", lacking, lacking),
        Figure("sweep.calls_per_visit", most.of_visits / told["visited"], "GET and PUT, of those that lack it", 2, 2),
        Figure("sweep.peak_mb", told["peak_mb"], "most memory of its process", at_most=200),
        Figure(
            "sweep.ratio_of_growth",
            _cpu_of_one_more(medium, most) / _cpu_of_one_more(small, medium),
            f"CPU of one more VM beyond {medium.vms:,}, to that beyond {small.vms:,}: 1 is linear",
            at_most=1.3,
        ),
        Figure("sweep.ratio_to_reading", ratio, "to bare aiohttp that reads the same pages and rows"),
    ]


def _cpu_of_one_more(some: Swept, more: Swept) -> float:
    """What every run has once, such as its first connections, is in both and does not count."""
    return float(more.told["cpu_s"] - some.told["cpu_s"]) / (more.vms - some.vms)


def _grid(swept: list[Swept]) -> Grid:
    header = ("VMs", "calls to ARM", "visits", "time, s", "CPU, µs a VM", "peak, MB", "reading alone, s")
    rows = [
        (
            f"{each.vms:,}",
            f"{each.graph_pages + each.beside}",
            f"{each.told['found']:,}",
            f"{each.told['seconds']:.2f}",
            f"{each.cpu_us:.0f}",
            f"{each.told['peak_mb']:.0f}",
            f"{each.reading['seconds']:.2f}",
        )
        for each in swept
    ]
    return Grid("By how many VMs there are (Azurite, too, slows down with its rows):", header, rows)


def _chart(swept: list[Swept]) -> Chart:
    lines = {
        "sweep": [(float(each.vms), float(each.told["seconds"])) for each in swept],
        "reading alone": [(float(each.vms), float(each.reading["seconds"])) for each in swept],
    }
    return Chart("sweep", "A sweep by how many VMs there are", "VMs", "seconds", lines)
