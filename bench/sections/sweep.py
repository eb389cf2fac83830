"""A sweep over a subscription full of VMs of which one in a hundred lost its extension, by the number of VMs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.charts import Chart
from bench.parts import Parts, run_child
from bench.programs.fleet import LACKING, PAGE
from bench.report import Figure, Grid, Section
from bench.run import Run

_HANDLED = 20  # so many of the messages that the sweep sent are handled


@dataclass(frozen=True, slots=True)
class Swept:
    """The results for one number of VMs."""

    vms: int
    result: dict[str, Any]
    """The measures of the sweep's process."""
    calls: dict[str, int]
    """ARM's calls by kind, of the sweep and of the handled messages."""
    reading: dict[str, Any]
    """The measures of only reading the same pages and rows."""

    @property
    def graph_pages(self) -> int:
        return self.calls["graph"]

    @property
    def of_handled(self) -> int:
        return sum(self.calls.get(kind, 0) for kind in ("get", "put"))

    @property
    def other_calls(self) -> int:
        """Calls that are neither a page nor of a handled message."""
        return sum(self.calls.values()) - self.graph_pages - self.of_handled

    @property
    def cpu_us(self) -> float:
        return 1e6 * float(self.result["cpu_s"]) / self.vms


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
    result = run_child("bench.programs.sweep", {"what": "sweep", "handle": _HANDLED}, parts.settings)
    swept = Swept(vms, result, parts.record()["calls"], reading)
    run.say(
        f"{vms:,} VMs: {result['seconds']:.2f} s, of CPU {result['cpu_s']:.2f} s, {swept.graph_pages} pages,"
        f" {result['found']:,} to be reconciled, {result['peak_mb']:.0f} MB; reading alone {reading['seconds']:.2f} s"
    )
    return swept


def _figures(swept: list[Swept]) -> list[Figure]:
    small, medium, most = swept
    vms, result = most.vms, most.result
    lacking = vms // LACKING
    pages = -(-vms // PAGE)
    ratio = result["seconds"] / most.reading["seconds"]
    return [
        Figure("sweep.vms", vms, "all with a row in the table, one in a hundred without the extension"),
        Figure("sweep.seconds", result["seconds"], "from the timer to the last message on the queue"),
        Figure(
            "sweep.calls", most.graph_pages + most.other_calls, "calls to ARM: the pages, and a list of subscriptions"
        ),
        Figure("sweep.pages", most.graph_pages, f"queries to Resource Graph, {PAGE:,} VMs each", pages, pages),
        Figure(
            "sweep.calls_beside_pages", most.other_calls, "the list of subscriptions, as the policy names none", 1, 1
        ),
        Figure("sweep.visits", result["found"], "VMs that the sweep put on the queue", lacking, lacking),
        Figure(
            "sweep.calls_per_visit",
            most.of_handled / result["handled"],
            "GET and PUT, of VMs that lack the extension",
            2,
            2,
        ),
        Figure("sweep.peak_mb", result["peak_mb"], "peak memory of its process", at_most=200),
        Figure(
            "sweep.ratio_of_growth",
            _cpu_of_one_more(medium, most) / _cpu_of_one_more(small, medium),
            f"CPU of one more VM above {medium.vms:,}, compared with above {small.vms:,}: 1 is linear",
            at_most=1.3,
        ),
        Figure("sweep.ratio_to_reading", ratio, "compared with bare aiohttp that reads the same pages and rows"),
    ]


def _cpu_of_one_more(some: Swept, more: Swept) -> float:
    """Costs that every run has once, such as its first connections, are in both and cancel out."""
    return float(more.result["cpu_s"] - some.result["cpu_s"]) / (more.vms - some.vms)


def _grid(swept: list[Swept]) -> Grid:
    header = ("VMs", "calls to ARM", "messages", "time, s", "CPU, µs a VM", "peak, MB", "reading alone, s")
    rows = [
        (
            f"{each.vms:,}",
            f"{each.graph_pages + each.other_calls}",
            f"{each.result['found']:,}",
            f"{each.result['seconds']:.2f}",
            f"{each.cpu_us:.0f}",
            f"{each.result['peak_mb']:.0f}",
            f"{each.reading['seconds']:.2f}",
        )
        for each in swept
    ]
    return Grid("By the number of VMs (Azurite, too, slows down with its rows):", header, rows)


def _chart(swept: list[Swept]) -> Chart:
    lines = {
        "sweep": [(float(each.vms), float(each.result["seconds"])) for each in swept],
        "reading alone": [(float(each.vms), float(each.reading["seconds"])) for each in swept],
    }
    return Chart("sweep", "A sweep by the number of VMs", "VMs", "seconds", lines)
