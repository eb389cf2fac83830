"""The backends of the contract: every test that asks for `backend` runs in memory and on Azurite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from simulator.azurite import Azurite
from tests.contract.arms import ArmBackend, over_simulator
from tests.contract.arms import InMemory as ArmInMemory
from tests.contract.backends import Backend, InMemory, OnAzurite, on_azurite


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with Azurite() as running:
        yield running


@pytest.fixture(params=["memory", "azurite"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    if request.param == "memory":
        yield InMemory()
        return
    async with on_azurite(request.getfixturevalue("azurite")) as opened:
        yield opened


@pytest.fixture
async def wire(azurite: Azurite) -> AsyncIterator[OnAzurite]:
    """Azurite alone, for what only the service's own clients can see."""
    async with on_azurite(azurite) as opened:
        yield opened


@pytest.fixture(params=["memory", "simulator"])
async def arm(request: pytest.FixtureRequest) -> AsyncIterator[ArmBackend]:
    if request.param == "memory":
        yield ArmInMemory()
        return
    async with over_simulator() as opened:
        yield opened
