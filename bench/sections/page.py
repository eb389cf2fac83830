"""The page over a table of 100,000 machines: its first answer in a new process, and each view and filter after that.

The table is sorted by keys and in memory, as in the section `ledger`: Azurite goes through all entities for each query.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.parts import BenchFailed, run_child
from bench.programs.large_table import SUBSCRIPTIONS
from bench.report import Figure, Grid, Section
from bench.run import Run
from bench.sections.ledger import sorted_table
from bench.workload import GROUP, RULE, SUBSCRIPTION, WORKSPACE

_TABLE, _PROGRAM = "bench.programs.large_table", "bench.programs.page"
_COLD_RUNS = 3
_MIGRATING = {
    "ONBOARDING_POLICIES": str(Path(__file__).parents[2] / "samples" / "policies" / "migration"),
    "DATA_COLLECTION_RULE_ID": RULE,
    "AMA_IDENTITY_ID": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/id-ama",
    "LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE,
}


def measure(run: Run) -> Section:
    vms = 5_000 if run.quick else 100_000
    with run.parts() as parts, sorted_table(parts) as settings:
        run_child(_TABLE, {"what": "seed", "vms": vms, "lines": 1}, settings)
        run.say(f"{vms:,} machines are in the table")
        run_child(_TABLE, {"what": "count"}, settings)
        cold = [run_child(_PROGRAM, {"what": "cold"}, settings) for _ in range(_COLD_RUNS)]
        warm = run_child(_PROGRAM, {"what": "warm"}, settings)
        warm |= run_child(_PROGRAM, {"what": "migration"}, settings | _MIGRATING)
    failed = [name for name, each in warm.items() if each["status"] != 200]
    if failed or any(each["status"] != 200 for each in cold):
        raise BenchFailed(f"the page answers with an error: {failed or cold}")
    slowest = max(warm, key=lambda name: warm[name]["seconds"])
    run.say(f"first page {min(each['seconds'] for each in cold):.2f} s; slowest: {slowest}")
    return Section("page", _figures(vms, cold, warm, slowest), [_grid(warm)])


def _figures(vms: int, cold: list[dict[str, Any]], warm: Mapping[str, Any], slowest: str) -> list[Figure]:
    first = sorted(each["seconds"] for each in cold)[len(cold) // 2]
    largest = max(each["bytes"] for each in warm.values()) / 1000
    return [
        Figure("page.vms", vms, f"over {SUBSCRIPTIONS} subscriptions"),
        Figure("page.cold_s", first, "from the import of the function app to the overview, median of 3", at_most=1),
        Figure("page.warm_ms", 1000 * warm[slowest]["seconds"], f"the slowest view or filter: {slowest}", at_most=150),
        Figure("page.overview_ms", 1000 * warm["overview"]["seconds"], "the overview", at_most=150),
        Figure("page.largest_kb", largest, "the largest answer, compressed", at_most=100),
    ]


def _grid(warm: Mapping[str, Any]) -> Grid:
    rows = [(name, f"{1000 * each['seconds']:.0f}", f"{each['bytes'] / 1000:.1f}") for name, each in warm.items()]
    return Grid("By view and filter, median of ten:", ("view", "ms", "KB compressed"), rows)
