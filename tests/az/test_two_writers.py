"""A person with the Azure CLI and the function app on the same VMs at the same time: the rows end true."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from simulator.az import login_commands
from simulator.demo.ledger import Ledger
from simulator.laptop import ROOT, CloudOptions, Laptop
from tests.az.conftest import Cli, Trap, environment_of
from tests.e2e.writers.two_writers import GROUP, SCENARIOS, TwoWriters

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class AzurePerson:
    """Hands that type `az`. Extensions are not waited for: the CLI would ask after half a minute."""

    az: Cli

    async def install(self, vm: str, workspace: str, key: str) -> bool:
        line = (
            f"vm extension set -g {GROUP} --vm-name {vm} --name OmsAgentForLinux --version 1.3 --no-wait "
            f"--publisher Microsoft.EnterpriseCloud.Monitoring "
            f"""--settings '{{"workspaceId": "{workspace}"}}' --protected-settings '{{"workspaceKey": "{key}"}}'"""
        )
        done = await self.az(line)
        assert done.code == 0 or "Conflict" in done.err, done.err
        return done.code == 0

    async def uninstall(self, vm: str) -> None:
        name = (await self.az(f"vm extension list -g {GROUP} --vm-name {vm} --query [0].name -o tsv")).out.strip()
        await self._done(f"vm extension delete -g {GROUP} --vm-name {vm} -n {name} --no-wait")

    async def tag(self, vm: str) -> None:
        await self._done(f"vm update -g {GROUP} -n {vm} --set tags.team=a")

    async def stop(self, vm: str) -> None:
        await self._done(f"vm deallocate -g {GROUP} -n {vm}")

    async def start(self, vm: str) -> None:
        await self._done(f"vm start -g {GROUP} -n {vm}")

    async def delete(self, vm: str) -> None:
        await self._done(f"vm delete -g {GROUP} -n {vm} --yes")

    async def _done(self, line: str) -> None:
        done = await self.az(line)
        assert done.code == 0, done.err


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> AsyncIterator[TwoWriters]:
    async with Laptop(CloudOptions(scale=1000)) as laptop, Ledger(laptop.azurite.connection_string) as ledger:
        await laptop.start_host(ROOT / "policies")
        az = Cli(environment_of(laptop.endpoints, tmp_path_factory.mktemp("home"), trap))
        for words in login_commands(laptop.endpoints.arm, laptop.operator, laptop.arm.options.tenant_id):
            assert (await az.run(*words)).code == 0
        yield TwoWriters(laptop, ledger, AzurePerson(az), slow=8)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_row_ends_true(world: TwoWriters, scenario: Callable[[TwoWriters], Awaitable[None]]) -> None:
    await scenario(world)
