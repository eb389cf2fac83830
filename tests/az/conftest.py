"""Microsoft's own Azure CLI against the laptop's cloud. `make test-az` installs it and names it in the variable AZ;
without that variable these tests are skipped."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from simulator.arm import ArmSimulator, Endpoints
from simulator.az import PROXIES, az_environment, login_commands
from simulator.clock import Clock
from tests.az.recorder import Recorder
from tests.az.scenery import furnish

AZ = os.environ.get("AZ", "")
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each command of the CLI takes two seconds and polls every half a minute, where Azure does not say otherwise."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.skipif(not AZ, reason="azure-cli is not there: `make test-az` installs it"))
            item.add_marker(pytest.mark.timeout(1800))


@dataclass(frozen=True)
class Printed:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def head(self) -> str:
        """The names of a table's columns."""
        return " ".join(self.out.splitlines()[0].split()) if self.out.strip() else ""


@dataclass
class Cli:
    """Runs `az`; `everything` is the output of all commands."""

    environment: Mapping[str, str]
    everything: list[str] = field(default_factory=list)

    async def __call__(self, line: str, **files: str) -> Printed:
        """Run the command with these arguments, as a shell would read them; `files` replaces names in braces."""
        words = shlex.split(line)
        for name, path in files.items():
            words = [word.replace(f"{{{name}}}", path) for word in words]
        return await self.run(*words)

    async def run(self, *words: str) -> Printed:
        process = await asyncio.create_subprocess_exec(
            AZ, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=dict(self.environment)
        )
        out, err = await process.communicate()
        self.everything += [out.decode(), err.decode()]
        return Printed(process.returncode or 0, out.decode(), err.decode())


@dataclass
class Trap:
    """A web proxy to which everything would go that is not for this machine; it answers nothing."""

    url: str = ""
    sent: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sent.append((await reader.readline()).decode(errors="replace").strip())
        writer.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def trap() -> AsyncIterator[Trap]:
    trap = Trap()
    server = await asyncio.start_server(trap.answer, "127.0.0.1", 0)
    trap.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield trap
    server.close()
    await server.wait_closed()


def environment_of(endpoints: Endpoints, home: Path, trap: Trap) -> dict[str, str]:
    proxies = dict.fromkeys(PROXIES, trap.url)
    return {"PATH": os.environ["PATH"], "HOME": str(home), **az_environment(endpoints), **proxies}


@dataclass
class Cloud:
    """A furnished ARM, with a recorder before it at which `az` is signed in."""

    arm: ArmSimulator
    recorder: Recorder
    az: Cli
    trap: Trap


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> AsyncIterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    arm = ArmSimulator(Clock(60.0))
    endpoints = await arm.start(folder)
    furnish(arm)
    operator = arm.directory.add("operator")
    az = Cli(environment_of(endpoints, folder, trap))
    try:
        async with Recorder(endpoints.arm, endpoints.ca_file) as recorder:
            for words in login_commands(recorder.url, operator, arm.options.tenant_id):
                done = await az.run(*words)
                assert done.code == 0, done.err
            yield Cloud(arm, recorder, az, trap)
    finally:
        await arm.stop()
