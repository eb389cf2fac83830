"""Small storms on real parts: Azurite, the simulated ARM and Event Grid, and the product in its own process, with
policies that install four extensions and remove one. In one of them, hosts of the last commit and of this one share
events, queue and table. After each storm the invariant has to hold. The storms run at the same time, because most of a
storm is waiting for scheduled checks to become due."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from rich.console import Console

from simulator.laptop import ROOT
from simulator.storm.report import Report
from simulator.storm.run import storm
from simulator.storm.storm import StormOptions
from simulator.storm.versions import export

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # a storm may take 114 seconds to become calm, and its host and its end take some more
]

TWO_VERSIONS = "hosts of two versions, each of them killed once"
PAUSED = "most of the fleet migrates, and a person pauses all writes in the middle"
STORMS = {
    "faults, kills and an outage of storage, events five times, late and in any order": StormOptions(
        seed=3, faults=0.3, duplicates=0.3, copies=5, lost=0.1, kills=1, outages=1
    ),
    "every event is lost, and the sweep alone onboards the fleet": StormOptions(
        seed=5, faults=0.0, duplicates=0.0, lost=1.0, kills=0
    ),
    PAUSED: StormOptions(seed=6, kills=1, pauses=1, migrating=0.7),
    TWO_VERSIONS: StormOptions(seed=4, lost=0.1, kills=2),
}
VMS = 24
HAS_HISTORY = (ROOT / ".git").exists() and shutil.which("git") is not None
NEEDS = {TWO_VERSIONS: pytest.mark.skipif(not HAS_HISTORY, reason="needs a git checkout")}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def raging(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, asyncio.Task[Report]]]:
    """All storms, each in a folder of its own."""

    async def rage(name: str, options: StormOptions) -> Report:
        folder = tmp_path_factory.mktemp("storm")
        beside = [export("HEAD", folder / "beside")] if name == TWO_VERSIONS else []
        with (folder / "progress.txt").open("w") as file:
            return await storm(options, VMS, folder, Console(file=file, width=160), beside)

    storms = {name: options for name, options in STORMS.items() if name not in NEEDS or HAS_HISTORY}
    tasks = {name: asyncio.create_task(rage(name, options)) for name, options in storms.items()}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("name", [pytest.param(name, marks=NEEDS.get(name, ())) for name in STORMS])
async def test_nothing_is_lost(raging: dict[str, asyncio.Task[Report]], name: str) -> None:
    options, report = STORMS[name], await raging[name]
    assert violations(report) == []
    assert report.figures["hosts killed"] == options.kills
    assert report.figures["policies"] == 4
    assert report.figures["VMs that migrate"] >= 3
    assert report.outcomes["Removed"] > 0
    assert report.figures["a person's pauses"] == options.pauses
    assert report.figures["installed, and sends nothing"] >= 0.05 * VMS
    assert report.figures["lost"] > 0
    assert len(report.handled) == (2 if name == TWO_VERSIONS else 1)
    if options.lost == 1:
        assert report.figures["lost"] == report.figures["events"]


def violations(report: Report) -> list[str]:
    return [violation.says for finding in report.findings for violation in finding.violations]
