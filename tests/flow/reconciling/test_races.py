"""Two workers on one row, with one policy and with two: the second one continues from the row of the first, and no end
of an install is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.notifications import EventRef
from onboarding.application.ports import MachineRows, RowVersions, RowWrite
from onboarding.domain.errors import StorageError
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import SHAPES, LedgerInMemory, World, extension


class Overtaken(LedgerInMemory):
    """A table that another worker changes between our read and our write."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], Awaitable[None]]] = []

    async def read(self, vm: VmId, *, new: bool = False) -> MachineRows:
        stored = await super().read(vm, new=new)
        if self.meanwhile:
            await self.meanwhile.pop(0)()
        return stored


@pytest.fixture
def ledger() -> Overtaken:
    return Overtaken()


@pytest.fixture(params=SHAPES.values(), ids=tuple(SHAPES))
def world(ledger: Overtaken, request: pytest.FixtureRequest) -> World:
    return World(ledger=ledger, policies=request.param)


def outcomes(world: World, vm: VmId) -> set[Outcome]:
    return {world.row(vm, extension).outcome for extension in world.extensions}


async def test_a_deletion_is_not_lost_to_an_install_that_ends_at_the_same_moment(
    world: World, ledger: Overtaken
) -> None:
    vm = world.add()
    await world.created(vm)
    ledger.meanwhile = [lambda: world.extension_written(vm)]
    await world.deleted(vm)
    assert outcomes(world, vm) == {Outcome.GONE}


async def test_an_install_that_ends_while_its_vm_is_closed_does_not_open_it(world: World, ledger: Overtaken) -> None:
    vm = world.add()
    await world.created(vm)
    ledger.meanwhile = [lambda: world.deleted(vm)]
    await world.installed(vm)
    assert outcomes(world, vm) == {Outcome.GONE}


async def test_an_end_that_overtakes_a_scheduled_check_is_not_lost(world: World, ledger: Overtaken) -> None:
    vm = world.add()
    await world.created(vm)

    async def check() -> None:
        """The scheduled check has read ARM before the install ended."""
        world.arm.set_extension(vm, extension(state="Creating"))
        await world.run_latest_check()
        world.arm.set_extension(vm, extension())

    ledger.meanwhile = [check]
    world.now += timedelta(minutes=4)
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    world.arm.set_extension(vm, extension())
    for _ in range(9):
        if outcomes(world, vm) != {Outcome.INSTALLED}:
            await world.advance(vm)
    assert outcomes(world, vm) == {Outcome.INSTALLED}


async def test_an_event_that_loses_every_race_is_redelivered(world: World, ledger: Overtaken) -> None:
    vm = world.add(agent="not_ready")
    await world.created(vm)

    async def check() -> None:
        """The scheduled check has read ARM before the VM was deleted."""
        world.add(agent="not_ready")
        await world.run_latest_check()
        world.arm.machines.clear()

    ledger.meanwhile = [check, _nothing] * 9
    with pytest.raises(StorageError, match="other workers wrote its rows first"):
        await world.deleted(vm, after=1_000_000)
    ledger.meanwhile = []
    await world.deleted(vm, after=1_000_000)
    assert outcomes(world, vm) == {Outcome.GONE}


async def test_copies_of_an_event_add_no_scheduled_checks(world: World) -> None:
    vm = world.add(agent="not_ready")
    trigger = world.trigger()
    for _ in range(5):
        await world.created(vm, trigger)
    for extension_name in world.extensions:
        assert world.row(vm, extension_name).waiting_for is WaitingFor.AGENT_READY
    assert 1 <= len(world.schedule_queue.checks) <= len(world.extensions)


@pytest.mark.parametrize("reached", range(3))
async def test_a_redelivered_event_continues_where_the_first_delivery_stopped(reached: int) -> None:
    """Storage fails after each of the first writes of a reconcile with two extensions."""
    ledger = Failing(reached)
    world = World(ledger=ledger, policies=SHAPES["two policies"])
    vm, trigger = world.add(), world.trigger()
    with suppress(StorageError):
        await world.created(vm, trigger)
    ledger.writes_left = None
    await world.created(vm, trigger)
    for _ in range(9):
        if outcomes(world, vm) != {Outcome.INSTALLED}:
            await world.advance(vm)
    assert outcomes(world, vm) == {Outcome.INSTALLED}
    assert world.arm.calls.count("PUT") == 2
    assert world.arm.conflicts == 0


class Failing(LedgerInMemory):
    """A table that accepts some writes, and then cannot be reached."""

    def __init__(self, writes_left: int) -> None:
        super().__init__()
        self.writes_left: int | None = writes_left

    async def commit(
        self, machine: MachineRow, version: str | None, entries: Sequence[RowWrite], trigger: EventRef, **options: Any
    ) -> RowVersions:
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise StorageError("the table could not be reached")
            self.writes_left -= 1
        return await super().commit(machine, version, entries, trigger, **options)


async def _nothing() -> None:
    return
