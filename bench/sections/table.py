"""Reading the table of a large fleet, as a person or a program does: `onboard status`."""

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
        result = {what: _status(what, parts, run) for what in ("reading", "totals", "json", "text")}
    _check(result, rows)
    counted, listed, shown = result["totals"], result["json"], result["text"]
    reading = float(result["reading"]["seconds"])
    return Section(
        "table",
        [
            Figure("table.rows", rows, "in one subscription"),
            Figure("table.first_page_s", shown["first_s"], "`onboard status`: process start to the first page"),
            Figure(
                "table.totals_s", counted["seconds"], "`onboard status --totals` without totals of a sweep: to its end"
            ),
            Figure("table.json_s", listed["seconds"], "`onboard status --json`: process start to the last row"),
            Figure("table.text_s", shown["seconds"], "`onboard status`: process start to the last page"),
            Figure("table.json_rows_per_s", rows / listed["seconds"], "`onboard status --json`"),
            Figure("table.reading_s", reading, "bare aiohttp that reads the rows and parses their JSON"),
            Figure(
                "table.totals_ratio_to_reading",
                counted["seconds"] / reading,
                "totals, compared with reading whole rows",
            ),
            Figure("table.json_ratio_to_reading", listed["seconds"] / reading, "all rows, compared with the same"),
            Figure("table.peak_mb", max(counted["peak_mb"], listed["peak_mb"], shown["peak_mb"]), "", at_most=_MOST_MB),
        ],
    )


def _status(what: str, parts: Parts, run: Run) -> dict[str, Any]:
    result = run_child("bench.programs.table", {"what": what}, parts.settings)
    run.say(f"{what:8} {result['seconds']:6.2f} s")
    return result


def _check(result: dict[str, dict[str, Any]], rows: int) -> None:
    """A figure counts only if the output is correct and complete."""
    counted = json.loads(result["totals"]["last"])
    if counted != {"rows": rows, "outcomes": dict(totals(rows))}:
        raise BenchFailed(f"onboard status --totals says {counted}")
    if result["json"]["lines"] != rows or result["reading"]["rows"] != rows:
        raise BenchFailed(f"of {rows} rows, {result['json']['lines']} were shown and {result['reading']['rows']} read")
    if not result["text"]["last"].startswith(f"{rows:,} rows: "):
        raise BenchFailed(f"onboard status ends with {result['text']['last']!r}")
