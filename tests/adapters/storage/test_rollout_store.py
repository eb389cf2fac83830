"""The counts of rollout limits in the table: written conditionally, shown and resumed from the command line."""

from __future__ import annotations

import asyncio
import json
from copy import replace
from pathlib import Path
from uuid import uuid4

import pytest
from azure.data.tables.aio import TableClient

from onboarding.app import open_rollouts
from onboarding.azure.storage.rollout_store import TableRolloutStore
from onboarding.cli.main import main
from onboarding.domain.errors import LostRace
from onboarding.domain.limits.rollout_limit import RolloutState
from simulator.azurite import Azurite
from tests.adapters.storage.rows import TIME


@pytest.fixture
def rollouts(table: TableClient) -> TableRolloutStore:
    return TableRolloutStore(table)


async def test_counts_are_read_back_for_any_policy_name(rollouts: TableRolloutStore) -> None:
    state = RolloutState(f"50% of a/b #{uuid4()}?", TIME, 3, 2, TIME, "web01: the handler failed")
    assert await rollouts.read(state.policy) is None
    version = await rollouts.write(state, None)
    stored = await rollouts.read(state.policy)
    assert stored is not None
    assert (stored.state, stored.version) == (state, version)
    assert state in await rollouts.read_all()


async def test_of_concurrent_writes_of_the_counts_exactly_one_wins(rollouts: TableRolloutStore) -> None:
    state = RolloutState(str(uuid4()))
    version: str | None = None
    for _ in range(2):
        state = replace(state, installs=state.installs + 1)
        results = await asyncio.gather(*(rollouts.write(state, version) for _ in range(4)), return_exceptions=True)
        (version,) = [result for result in results if isinstance(result, str)]
        assert sum(isinstance(result, LostRace) for result in results) == 3


def test_a_person_shows_and_resumes_a_policy(
    azurite: Azurite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"policy {uuid4()}"
    settings = tmp_path / "local.settings.json"
    settings.write_text(json.dumps({"Values": {"AzureWebJobsStorage": azurite.connection_string}}))
    options = ["--settings", str(settings)]
    assert main(["policy", "resume", name, *options]) == 1
    asyncio.run(_stop(name, {"AzureWebJobsStorage": azurite.connection_string}))
    assert main(["policy", "resume", *options]) == 0
    assert f"policy {name} is stopped since" in capsys.readouterr().out
    assert main(["policy", "resume", name, *options]) == 0
    assert "is resumed; it was stopped by web01: the handler failed" in capsys.readouterr().out
    assert main(["policy", "resume", name, *options]) == 1


async def _stop(name: str, environment: dict[str, str]) -> None:
    async with open_rollouts(environment) as rollouts:
        await rollouts.write(RolloutState(name, TIME, 1, 1, TIME, "web01: the handler failed"), None)
