"""The counts of rollout limits in the table, as a person shows and resumes them from the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import pytest

from onboarding.app import open_rollouts
from onboarding.cli.main import main
from onboarding.domain.limits.rollout_limit import RolloutState
from simulator.azurite import Azurite
from tests.adapters.storage.rows import TIME


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
