"""Small storms on real parts: Azurite, the simulated ARM and Event Grid, and the product in its own process, with two
policies for two extensions. After each storm the invariant has to hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from simulator.storm.report import Report
from simulator.storm.run import storm
from simulator.storm.storm import Weather

STORMS = {
    "faults, kills and an outage of storage, events five times, late and in any order": Weather(
        seed=3, faults=0.3, duplicates=0.3, copies=5, lost=0.1, kills=1, outages=1
    ),
    "every event is lost, and the sweep alone onboards the fleet": Weather(
        seed=5, faults=0.0, duplicates=0.0, lost=1.0, kills=0
    ),
}
VMS = 20


@pytest.mark.parametrize("weather", STORMS.values(), ids=STORMS)
async def test_nothing_is_lost(weather: Weather, tmp_path: Path) -> None:
    with (tmp_path / "progress.txt").open("w") as file:
        report = await storm(weather, VMS, tmp_path, Console(file=file, width=160))
    assert violations(report) == []
    assert report.figures["hosts killed"] == weather.kills
    assert report.figures["policies"] == 2
    assert report.figures["lost"] > 0
    if weather.lost == 1:
        assert report.figures["lost"] == report.figures["events"]


def violations(report: Report) -> list[str]:
    return [violation.says for finding in report.findings for violation in finding.violations]
