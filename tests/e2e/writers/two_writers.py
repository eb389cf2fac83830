"""A person and the function app write to the same VMs, and every row ends true. The person's hands are the Azure CLI in
one test and plain requests in another; what they do is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from simulator.arm import Guest, HandlerRun, Machine, VmSpec
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import Laptop

GROUP = "rg-two"
HANDLER = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"
_IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
_GUEST = Guest(os_name="centos", os_version="7.9", agent_delay=0)
_ELSEWHERE = "00000000-aaaa-bbbb-cccc-000000000000"


class Person(Protocol):
    """What a person does to a VM of the group. `install` returns whether Azure took it; nothing waits for its end."""

    async def install(self, vm: str, workspace: str, key: str) -> bool: ...

    async def uninstall(self, vm: str) -> None: ...

    async def tag(self, vm: str) -> None: ...

    async def stop(self, vm: str) -> None: ...

    async def start(self, vm: str) -> None: ...

    async def delete(self, vm: str) -> None: ...


@dataclass(frozen=True)
class TwoWriters:
    """`slow` is how many real seconds an install takes that must not be over too soon."""

    laptop: Laptop
    ledger: Ledger
    person: Person
    slow: float

    def add(self, name: str) -> Machine:
        """A VM that was there before; no event tells of it."""
        return self.laptop.arm.add_vm(self._spec(name))

    def create(self, name: str, *, slow: bool = False) -> Machine:
        """A VM whose event comes when it is made."""
        return self.laptop.arm.create_vm(self._spec(name, slow=slow))

    async def install(self, machine: Machine, workspace: str = "") -> bool:
        own = self.laptop.workspace
        return await self.person.install(machine.name, workspace or own.id, own.key)

    async def row(self, machine: Machine, *outcomes: str, within: float = 60.0) -> Row:
        """The VM's row, as soon as it has one of the outcomes, and nothing is under way."""

        async def check() -> Row | None:
            row = (await self.ledger.current()).get(machine.key)
            return row if row is not None and row.outcome in outcomes and not self._busy(machine) else None

        return await eventually(check, within)

    async def handler_ends(self, machine: Machine) -> None:
        await eventually(lambda: _true(bool(machine.extensions) and not self._busy(machine)))

    def is_true(self, machine: Machine, row: Row) -> None:
        """Assert that the row says what is on the VM."""
        found = [each for each in machine.extensions.values() if each.handler == HANDLER]
        states = [each.provisioning_state for each in found]
        if row.outcome in ("Installed", "AlreadyInstalled"):
            assert states == ["Succeeded"], row.outcome
        assert len(found) <= 1

    def _busy(self, machine: Machine) -> bool:
        states = {each.provisioning_state for each in machine.extensions.values()}
        return bool(states & {"Creating", "Updating", "Deleting"}) or machine.provisioning_state == "Updating"

    def _spec(self, name: str, *, slow: bool = False) -> VmSpec:
        runs = (HandlerRun(seconds=self.slow * self.laptop.clock.scale), HandlerRun()) if slow else ()
        # `az vm update --set tags.x=y` works only on a VM that has tags
        return VmSpec(name=name, group=GROUP, image=_IMAGE, guest=_GUEST, runs=runs, tags={"owner": "person"})


async def by_hand_before_ours(world: TwoWriters) -> None:
    """The person was first: the extension is adopted under the person's name, and not written again."""
    machine = world.add("before")
    assert await world.install(machine)
    await world.handler_ends(machine)
    await world.person.tag(machine.name)
    world.is_true(machine, await world.row(machine, "AlreadyInstalled"))
    assert writers(world, machine) == {False}


async def by_hand_during_ours(world: TwoWriters) -> None:
    """The person comes while our install runs: Azure refuses the second write, and ours ends well."""
    machine = world.create("during", slow=True)
    await eventually(lambda: _true(bool(machine.extensions)))
    assert not await world.install(machine)
    world.is_true(machine, await world.row(machine, "Installed"))


async def by_hand_after_ours(world: TwoWriters) -> None:
    """The person writes the same settings again: it stays installed."""
    machine = world.create("after")
    await world.row(machine, "Installed")
    assert await world.install(machine)
    await world.handler_ends(machine)
    world.is_true(machine, await world.row(machine, "Installed", "AlreadyInstalled"))
    assert len(machine.extensions) == 1


async def other_settings_by_hand(world: TwoWriters) -> None:
    """The person moves the VM to another workspace. Policy leaves it there; at the VM's next event the row names it."""
    machine = world.create("moved")
    await world.row(machine, "Installed")
    assert await world.install(machine, _ELSEWHERE)
    await world.handler_ends(machine)
    await world.person.tag(machine.name)
    row = await world.row(machine, "AlreadyInstalled")
    world.is_true(machine, row)
    assert _ELSEWHERE in row.text("Reason")


async def removal_by_hand(world: TwoWriters) -> None:
    """The person removes what we installed: it comes back."""
    machine = world.create("removed")
    await world.row(machine, "Installed")
    (first,) = machine.extensions.values()
    await world.person.uninstall(machine.name)

    def again() -> bool:
        return first not in machine.extensions.values() and bool(machine.extensions)

    await eventually(lambda: _true(again()))
    world.is_true(machine, await world.row(machine, "Installed"))


async def stop_and_start_by_hand(world: TwoWriters) -> None:
    """The person stops a VM before its turn: it waits, and is onboarded when it runs again."""
    machine = world.add("stopped")
    await world.person.stop(machine.name)
    await world.person.tag(machine.name)
    row = await world.row(machine, "Waiting")
    assert not machine.extensions
    assert row.text("WaitingFor")
    await world.person.start(machine.name)
    world.is_true(machine, await world.row(machine, "Installed"))


async def deletion_by_hand(world: TwoWriters) -> None:
    """The person deletes the VM: the row says so."""
    machine = world.create("deleted")
    await world.row(machine, "Installed")
    await world.person.delete(machine.name)
    await world.row(machine, "Gone")
    assert world.laptop.arm.machines.find(machine.id) is None


SCENARIOS = (
    by_hand_before_ours,
    by_hand_during_ours,
    by_hand_after_ours,
    other_settings_by_hand,
    removal_by_hand,
    stop_and_start_by_hand,
    deletion_by_hand,
)


def writers(world: TwoWriters, machine: Machine) -> set[bool]:
    """Who wrote an extension of the VM: True for the function app."""
    app = world.laptop.arm.options.principal_id
    attempts = world.laptop.arm.attempts
    return {each.principal == app for each in attempts if each.vm == machine.key}


async def _true(value: bool) -> bool | None:
    return value or None


async def eventually[T](check: Callable[[], Awaitable[T | None]], within: float = 60.0) -> T:
    """Wait for the first true value."""
    deadline = time.monotonic() + within
    while not (found := await check()):
        assert time.monotonic() < deadline, f"not in {within:.0f} s"
        await asyncio.sleep(0.1)
    return found
