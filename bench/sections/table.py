"""The table of a large fleet, read as a person or a program reads it: `onboard status`."""

from __future__ import annotations

import json
from typing import Any

from bench.parts import BenchFailed, Parts, run_child
from bench.programs.fleet import totals
from bench.report import Figure, Section
from bench.run import Run

_MOST_MB = 100


def measure(run: Run) -> Section:
    rows = 2_000 if run.quick else 100_000
    with run.parts() as parts:
        parts.empty_storage()
        run_child("bench.programs.fleet", {"vms": rows}, parts.settings)
        told = {what: _status(what, parts, run) for what in ("reading", "totals", "json", "text")}
    _check(told, rows)
    counted, listed, shown = told["totals"], told["json"], told["text"]
    reading = float(told["reading"]["seconds"])
    return Section(
        "table",
        [
            Figure("table.rows", rows, "in one subscription"),
            Figure("table.first_page_s", shown["first_s"], "`onboard status`: process start to the first page"),
            Figure("table.totals_s", counted["seconds"], "`onboard status --totals`: process start to its end"),
            Figure("table.json_s", listed["seconds"], "`onboard status --json`: process start to the last row"),
            Figure("table.text_s", shown["seconds"], "`onboard status`: process start to the last page"),
            Figure("table.json_rows_per_s", rows / listed["seconds"], "`onboard status --json`"),
            Figure("table.reading_s", reading, "bare aiohttp that reads the rows and parses their JSON"),
            Figure("table.totals_ratio_to_reading", counted["seconds"] / reading, "totals, to reading whole rows"),
            Figure("table.json_ratio_to_reading", listed["seconds"] / reading, "all rows, to the same"),
            Figure("table.peak_mb", max(counted["peak_mb"], listed["peak_mb"], shown["peak_mb"]), "", at_most=_MOST_MB),
        ],
    )


def _status(what: str, parts: Parts, run: Run) -> dict[str, Any]:
    told = run_child("bench.programs.table", {"what": what}, parts.settings)
    run.say(f"{what:8} {told['seconds']:6.2f} s")
    return told


def _check(told: dict[str, dict[str, Any]], rows: int) -> None:
    """A figure counts only if what was shown is what is there."""
    counted = json.loads(told["totals"]["last"])
    if counted != {"rows": rows, "outcomes": dict(totals(rows))}:
        raise BenchFailed(f"onboard status --totals says {counted}")
    if told["json"]["lines"] != rows or told["reading"]["rows"] != rows:
        raise BenchFailed(f"of {rows} rows, {told['json']['lines']} were shown and {told['reading']['rows']} read")
    if not told["text"]["last"].startswith(f"{rows:,} rows: "):
        raise BenchFailed(f"onboard status ends with {told['text']['last']!r}")
