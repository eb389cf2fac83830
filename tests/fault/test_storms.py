"""Small storms on real parts: Azurite, the simulated ARM and Event Grid, and the product in a process of its own, with
two policies for two extensions. After each the invariant has to be whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from simulator.storm.report import Report
from simulator.storm.run import storm
from simulator.storm.storm import StormOptions

STORMS = {
    "faults, kills and an outage of storage, events five times, late and in any order": StormOptions(
        seed=3, faults=0.3, duplicates=0.3, copies=5, lost=0.1, kills=1, outages=1
    ),
    "every event is lost, and the sweep alone onboards the fleet": StormOptions(
        seed=5, faults=0.0, duplicates=0.0, lost=1.0, kills=0
    ),
}
VMS = 20


@pytest.mark.parametrize("storm_options", STORMS.values(), ids=STORMS)
async def test_nothing_is_lost(storm_options: StormOptions, tmp_path: Path) -> None:
    with (tmp_path / "progress.txt").open("w") as file:
        report = await storm(storm_options, VMS, tmp_path, Console(file=file, width=160))
    assert violations(report) == []
    assert report.figures["hosts killed"] == storm_options.kills
    assert report.figures["policies"] == 2
    assert report.figures["lost"] > 0
    if storm_options.lost == 1:
        assert report.figures["lost"] == report.figures["events"]


def violations(report: Report) -> list[str]:
    return [violation.says for finding in report.findings for violation in finding.violations]
