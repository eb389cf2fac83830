"""Commands on real parts, with a wrong login or wrong settings: they end with the fix, and do not change table or
queue."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from copy import replace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from onboarding.settings import QUEUE
from simulator.arm import Guest, HandlerRun, Machine, VmSpec
from simulator.demo.fleet import Expectation, Member, Story
from simulator.demo.guide import guide
from simulator.demo.ledger import Ledger
from simulator.laptop import ROOT, CloudOptions, Laptop

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICIES = ROOT / "policies"
LISTED = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
CENTOS = Guest(os_name="centos", os_version="7.9", agent_delay=0)
OTHER_TENANT = "11111111-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Desk:
    """A person's laptop. `shell` holds the variables of their shell."""

    laptop: Laptop
    failed: Machine
    shell: Mapping[str, str]

    async def onboard(self, *arguments: str, **changes: str) -> CommandResult:
        environment = {**self.shell, **self.laptop.host_environment(POLICIES, {}), **changes}
        return await run([sys.executable, "-m", "onboarding", *arguments], environment)

    async def written(self) -> tuple[Any, ...]:
        """The whole table, with the time of the last write of each row, and every visible message."""
        connection = self.laptop.azurite.connection_string
        async with Ledger(connection) as ledger, QueueClient.from_connection_string(connection, QUEUE) as queue:
            rows = [dict(row) for row in await ledger.everything()]
            try:
                count = (await queue.get_queue_properties()).approximate_message_count
            except ResourceNotFoundError:
                count = 0
        return rows, count


async def run(command: list[str], environment: Mapping[str, str]) -> CommandResult:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=dict(environment), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    return CommandResult(process.returncode or 0, out.decode(), err.decode())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk() -> AsyncIterator[Desk]:
    """A laptop, and a VM whose row is Failed after a person's request."""
    async with Laptop(CloudOptions(scale=3000)) as laptop:
        runs = (HandlerRun(exit_code=62), HandlerRun(exit_code=62))
        failed = laptop.arm.add_vm(VmSpec(name="failed", image=LISTED, guest=CENTOS, runs=runs))
        shell = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        desk = Desk(laptop, failed, shell)
        result = await desk.onboard("install", failed.id, "--interval", "0.1", "--timeout", "60")
        assert result.code == 1, result.err
        yield desk


def commands(desk: Desk) -> list[list[str]]:
    vm = desk.failed.id
    return [["install", vm, "--no-wait"], ["retry", "--all"], ["sweep"]]


async def refused(desk: Desk, says: str, **changes: str) -> None:
    """Assert that every command ends with exit code 2 and that text, and writes nothing."""
    before = await desk.written()
    for result in await asyncio.gather(*(desk.onboard(*command, **changes) for command in commands(desk))):
        assert result.code == 2, result.err
        assert says in result.err
        assert "Traceback" not in result.err
    assert await desk.written() == before


async def test_without_a_login_nothing_is_written(desk: Desk) -> None:
    desk.laptop.arm.break_identity(400)
    try:
        await refused(desk, "sign in with `az login`")
    finally:
        desk.laptop.arm.break_identity(None)


async def test_with_another_tenants_login_nothing_is_written(desk: Desk) -> None:
    desk.laptop.arm.move_identity(OTHER_TENANT)
    try:
        await refused(desk, f"`az login --tenant {desk.laptop.arm.options.tenant_id}`")
    finally:
        desk.laptop.arm.move_identity(None)


async def test_without_a_role_nothing_is_written(desk: Desk) -> None:
    scopes, principal = desk.laptop.arm.scopes, desk.laptop.arm.options.principal_id
    scopes.grant(principal, "/subscriptions/of-somebody-else", "*")
    try:
        await refused(desk, "nothing was written")
    finally:
        scopes.roles.clear()


async def test_a_key_of_another_account_is_named_with_the_address(desk: Desk) -> None:
    storage = re.sub("AccountKey=[^;]*", "AccountKey=d3Jvbmc=", desk.laptop.azurite.connection_string)
    result = await desk.onboard("install", desk.failed.id, "--no-wait", AzureWebJobsStorage=storage)
    assert result.code == 2
    assert f"storage at {desk.laptop.azurite.endpoints['table']}" in result.err
    assert "refuses us (403" in result.err


async def test_the_commands_that_a_kept_demo_prints_work(desk: Desk) -> None:
    """The shell does not know the simulator, and trusts other certificate authorities."""
    spec = replace(VmSpec(name=desk.failed.name, image=LISTED, guest=CENTOS), runs=(HandlerRun(exit_code=62),))
    assert spec.id.lower() == desk.failed.id.lower()
    fleet = (Member("x", spec, Story.NONE, Expectation("Failed", "62")),)
    desk.laptop.arm.add_vm(VmSpec(name="mine-01", image=LISTED, guest=CENTOS))
    text = guide(desk.laptop, "http://127.0.0.1:1", fleet, POLICIES, {})
    found = [shlex.split(line) for line in text.splitlines() if line.startswith("  .venv/bin/onboard ")]
    lines = [line for line in found if "--settings" in line]
    assert [line[1] for line in lines] == ["status", "extensions", "logs", "retry", "retry", "install", "sweep"]
    other = Path(__file__).with_name("no-such-authorities.pem")
    for line in lines:
        result = await run(
            [sys.executable, "-m", "onboarding", *line[1:]],
            {**desk.shell, "SSL_CERT_FILE": str(other), "OMS_WORKSPACE_ID": "x"},
        )
        failing = line[1] in ("extensions", "retry") and "--dry-run" not in line
        assert result.code == (1 if failing else 0), f"{line}: {result.err}"
