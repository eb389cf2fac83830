"""No command goes through the whole table: each one that reads the table runs as a process, on Azurite behind a proxy
that records every read."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio

from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.stores.rollout_store import TableRolloutStore
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.cli.command_list import COMMANDS
from onboarding.domain.limits.rollout_limit import RolloutState
from onboarding.domain.reconcile.row import Outcome
from simulator.arm import Machine, VmSpec
from simulator.azurite import connection_string
from simulator.laptop import ROOT, CloudOptions, Laptop
from tests.adapters.conftest import storage_of
from tests.adapters.storage.recorded_queries import RecordedQueries, recorded_queries
from tests.adapters.storage.rows import OMS, TIME, final, new_vm, row_of, trigger, write

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY = "linux-monitoring"
IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
# The commands that read the table; of these, `--settings` and the like change nothing about what they read.
READING: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "changes": ((), ("web-01",), ("-g", "rg-web", "-n", "web-01"), ("--step", "extension", "--sort", "name")),
    "migration": (("--from", OMS, "--to", POLICY), ("--from", OMS, "--to", POLICY, "--list", "both")),
    "status": (
        (),
        ("web-01",),
        ("-g", "rg-web", "-n", "web-01"),
        ("web-01", "--history"),
        ("--totals",),
        ("--totals", "--exact"),
        ("--totals", "--since", "9999d"),
        ("--outcome", "Failed", "--sort", "time", "--limit", "1"),
        ("--policy", POLICY, "--cause", "timeout"),
        ("--attention",),
        ("--begins", "web", "--waiting-for", "vm-running", "--text", "dpkg"),
    ),
    "events": ((), ("-o", "json")),
    "enforce": ((POLICY, "--dry-run"), (POLICY, "--yes"), (POLICY, "web-01", "--yes"), (POLICY, "-g", "g", "--yes")),
    "install": (("web-01", "--dry-run"), ("web-01", "--no-wait")),
    "remove": (("web-01", "--extension", "oms-agent-linux", "--dry-run"),),
    "retry": (("--all", "--dry-run"), ("--policy", POLICY, "--no-wait"), ("web-01", "--dry-run")),
    "extensions": (("web-01",),),
    "logs": (("web-01", "--lines", "1"),),
    "sweep": (("--dry-run",), ()),
    "replay": (("--poison",),),
    "policy": (("resume", POLICY),),
    "pause": (("--list",), ("--policy", POLICY, "--reason", "a test")),
    "resume": (("--policy", POLICY), ("--all",)),
}
WITHOUT_TABLE = {"check", "compare", "completion", "diagnose", "document", "errors", "extension", "open", "template"}


@dataclass
class Shell:
    """Runs commands whose storage is behind the proxy."""

    environment: Mapping[str, str]
    recorded: RecordedQueries
    machine: Machine

    async def onboard(self, *arguments: str) -> str:
        """Run a command; returns what it says."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "onboarding", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=self.environment,
        )
        out, _ = await process.communicate()
        return out.decode()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shell() -> AsyncIterator[Shell]:
    async with Laptop(CloudOptions(scale=3000)) as laptop:
        with recorded_queries(laptop.azurite.endpoints["table"].removesuffix("/devstoreaccount1")) as recorded:
            storage = connection_string({**laptop.azurite.endpoints, "table": recorded.endpoint})
            machine = laptop.arm.add_vm(VmSpec(name="web-01", group="rg-web", image=IMAGE))
            environment = {
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                **laptop.connections(),
                "AzureWebJobsStorage": storage,
                "NO_PROXY": "localhost,127.0.0.1",
                "ONBOARDING_POLICIES": str(ROOT / "policies"),
                "OMS_WORKSPACE_ID": laptop.workspace.id,
                "OMS_WORKSPACE_KEY": laptop.workspace.key,
            }
            await fill(storage, machine)
            yield Shell(environment, recorded, machine)


async def fill(storage: str, machine: Machine) -> None:
    async with onboarding_table(storage_of(storage), None) as table:
        ledger = TableLedger(table)
        for row in (row_of(new_vm("waits")), final(new_vm("failed"), Outcome.FAILED, policy=POLICY)):
            await write(ledger, row, trigger(), None)
        named = {"resource_id": machine.id, "vm_name": "web-01", "resource_group": "rg-web", "policy": POLICY}
        await write(ledger, final(new_vm(), Outcome.FAILED, **named), trigger(), None)
        await TableRolloutStore(table).write(RolloutState(POLICY, TIME, 1, 2, TIME, "because"), None)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        pytest.param(command, arguments, id=" ".join((command, *arguments)))
        for command, all_arguments in READING.items()
        for arguments in all_arguments
    ],
)
async def test_no_command_scans_the_table(shell: Shell, command: str, arguments: tuple[str, ...]) -> None:
    shell.recorded.reads.clear()
    said = await shell.onboard(command, *arguments)
    assert "Traceback" not in said
    assert shell.recorded.scans == []
    assert shell.recorded.reads or command == "replay", said


async def test_every_command_is_here() -> None:
    assert READING.keys() | WITHOUT_TABLE == set(COMMANDS)
