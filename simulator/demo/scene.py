"""What the owners of the fleet, and others, do to it while the product is at work.

Everything here happens in the simulated cloud and hangs on that cloud's own state, never on what the product did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from simulator.arm import ArmSimulator, ExtensionSpec
from simulator.clock import Clock
from simulator.demo.fleet import Member, Story
from simulator.eventgrid.schema import Event

# Seconds of the cloud: a new VM every six, a night's rest for those that start later.
_BETWEEN_VMS = 6.0
_START_DELAY = 120.0
_POLL = 0.05

_BACKUP = ExtensionSpec(name="backup", publisher="Microsoft.Azure.Extensions", type="CustomScript", version="2.1")


class Scene:
    """Plays a fleet's creation and its VMs' stories; `observe` must see every event of ARM."""

    def __init__(self, fleet: Sequence[Member]) -> None:
        self.fleet = fleet
        self.created = 0
        self._other_deployments = {m.id for m in fleet if m.story is Story.OTHER_DEPLOYMENT}
        self._arm: ArmSimulator | None = None

    async def play(self, arm: ArmSimulator, clock: Clock) -> None:
        """Create the VMs one after the other; returns when all their stories have been told."""
        self._arm = arm
        async with asyncio.TaskGroup() as stories:
            for member in self.fleet:
                arm.create_vm(member.spec)
                self.created += 1
                if member.story is Story.START_LATER:
                    stories.create_task(_start_later(arm, clock, member.spec.id))
                if member.story is Story.DELETE_DURING_INSTALL:
                    stories.create_task(_delete_during_install(arm, member.spec.id))
                await clock.sleep(_BETWEEN_VMS)

    def observe(self, event: Event) -> None:
        """Some VM's owner has a pipeline of their own, which begins before anybody else hears of the VM."""
        vm = str(event["data"]["resourceUri"]).lower()
        if self._arm is not None and vm in self._other_deployments:
            self._other_deployments.discard(vm)
            self._arm.put_extension_as_other_deployer(vm, _BACKUP)


async def _start_later(arm: ArmSimulator, clock: Clock, vm: str) -> None:
    await _until(lambda: arm.machines[vm].provisioning_state == "Succeeded")
    await clock.sleep(_START_DELAY)
    arm.start_vm(vm)


async def _delete_during_install(arm: ArmSimulator, vm: str) -> None:
    await _until(lambda: any(extension.runs for extension in arm.machines[vm].extensions.values()))
    arm.delete_vm(vm)


async def _until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(_POLL)
