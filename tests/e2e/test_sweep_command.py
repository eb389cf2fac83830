"""`onboard sweep` as a person runs it, against Azurite and the simulated cloud."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from azure.storage.queue.aio import QueueClient

from onboarding.settings import QUEUE
from simulator.arm import VmSpec
from simulator.laptop import ROOT, SUBSCRIPTIONS, Laptop

pytestmark = pytest.mark.asyncio(loop_scope="module")
SUBSCRIPTION, OTHER = SUBSCRIPTIONS
WEB = VmSpec(name="web01")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def laptop() -> AsyncIterator[Laptop]:
    async with Laptop() as laptop:
        laptop.arm.add_vm(WEB).created -= timedelta(days=1)
        yield laptop


async def onboard_sweep(laptop: Laptop, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run the command; returns exit code, standard output and standard error."""
    environment = {
        **os.environ,
        **laptop.connections(),
        "NO_PROXY": "localhost,127.0.0.1",
        "ONBOARDING_POLICIES": str(ROOT / "policies"),
        "OMS_WORKSPACE_ID": laptop.workspace.id,
        "OMS_WORKSPACE_KEY": laptop.workspace.key,
        **settings,
    }
    command = [sys.executable, "-m", "onboarding", "sweep", *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_dry_run_lists_what_would_be_reconciled_and_why(laptop: Laptop) -> None:
    code, out, err = await onboard_sweep(laptop, "--dry-run")
    assert (code, out) == (0, f"missed      {WEB.id} (linux-monitoring)\n")
    assert "1 machines, 0 overdue, 0 announced, 1 missed" in err


async def test_json_output_has_one_object_on_each_line(laptop: Laptop) -> None:
    code, out, _ = await onboard_sweep(laptop, "--dry-run", "--format", "json", "--subscription", SUBSCRIPTION)
    found, summary = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert found == {"vm": WEB.id, "reason": "missed", "policy": "linux-monitoring"}
    assert (summary["summary"]["machines"], summary["summary"]["missed"]) == (1, 1)


async def test_a_json_document_has_the_findings_and_the_summary(laptop: Laptop) -> None:
    code, out, _ = await onboard_sweep(laptop, "--dry-run", "-o", "json")
    document = json.loads(out)
    assert code == 0
    assert document["findings"] == [{"vm": WEB.id, "reason": "missed", "policy": "linux-monitoring"}]
    assert document["summary"]["missed"] == 1

    _, out, _ = await onboard_sweep(laptop, "--dry-run", "-o", "json", "--subscription", OTHER)
    assert json.loads(out)["findings"] == []


async def test_csv_has_the_findings_and_standard_error_the_summary(laptop: Laptop) -> None:
    code, out, err = await onboard_sweep(laptop, "--dry-run", "-o", "csv")
    assert (code, out) == (0, f"vm,reason,policy\n{WEB.id},missed,linux-monitoring\n")
    assert "1 missed" in err


async def test_another_subscription_has_nothing_to_reconcile(laptop: Laptop) -> None:
    code, out, _ = await onboard_sweep(laptop, "--dry-run", "--subscription", OTHER)
    assert (code, out) == (0, "")


async def test_findings_are_put_on_the_queue_once(laptop: Laptop) -> None:
    assert (await onboard_sweep(laptop))[0] == 0
    async with QueueClient.from_connection_string(laptop.azurite.connection_string, QUEUE) as queue:
        (message,) = await queue.peek_messages(max_messages=5)
    assert json.loads(message.content)["reason"] == "missed"

    code, out, err = await onboard_sweep(laptop)
    assert (code, out) == (1, "")
    assert "the requests of an earlier sweep are still being worked off" in err


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (
            ["--policy", "nothing"],
            {},
            "unknown policy 'nothing' (--policy); known policies: azure-monitor, linux-monitoring",
        ),
        ([], {"ONBOARDING_POLICIES": "/nowhere"}, "ONBOARDING_POLICIES"),
        ([], {"AzureWebJobsStorage": "x"}, "AzureWebJobsStorage"),
    ],
)
async def test_bad_input_is_named(laptop: Laptop, arguments: list[str], settings: dict[str, str], says: str) -> None:
    code, out, err = await onboard_sweep(laptop, *arguments, **settings)
    assert (code, out) == (2, "")
    assert says in err
