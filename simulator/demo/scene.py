"""What the owners of the fleet, and others, do to its VMs while the product works.

Everything here happens in the simulated cloud and depends only on that cloud's state, never on what the product did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from simulator.arm import ArmSimulator, ExtensionSpec
from simulator.clock import Clock
from simulator.demo.fleet import Member, Story
from simulator.eventgrid.schema import Event

# Simulated seconds: between two new VMs, and until the VMs of the story "start-later" are started.
_BETWEEN_VMS = 6.0
_START_DELAY = 120.0
_POLL = 0.05

_BACKUP = ExtensionSpec(name="backup", publisher="Microsoft.Azure.Extensions", type="CustomScript", version="2.1")


class Scene:
    """Creates a fleet and plays its VMs' stories; `observe` must be called with every event of ARM. The story
    "delete-during-install" waits for an install for the simulated seconds of `patience`; None: without an end."""

    def __init__(self, fleet: Sequence[Member], patience: float | None = None) -> None:
        self.fleet = fleet
        self._patience = patience
        self.created = 0
        self._other_deployments = {m.id for m in fleet if m.story is Story.OTHER_DEPLOYMENT}
        self._arm: ArmSimulator | None = None

    @property
    def extensions(self) -> dict[str, str]:
        """The extension that each VM is to get."""
        return {member.id: member.extension for member in self.fleet}

    async def play(self, arm: ArmSimulator, clock: Clock) -> None:
        """Create the VMs one after the other; returns when all their stories are over."""
        self._arm = arm
        async with asyncio.TaskGroup() as stories:
            for member in self.fleet:
                arm.create_vm(member.spec)
                self.created += 1
                if member.story is Story.START_LATER:
                    stories.create_task(_start_later(arm, clock, member.spec.id))
                if member.story is Story.DELETE_DURING_INSTALL:
                    stories.create_task(self._delete_during_install(arm, clock, member.spec.id))
                await clock.sleep(_BETWEEN_VMS)

    async def _delete_during_install(self, arm: ArmSimulator, clock: Clock, vm: str) -> None:
        """Delete the VM while a handler runs in it, or after the patience, as no policy may want an extension on it."""
        patience = None if self._patience is None else clock.real(self._patience)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await _until(lambda: any(extension.runs for extension in arm.machines[vm].extensions.values()))
        arm.delete_vm(vm)

    def observe(self, event: Event) -> None:
        """The owner of some VM has a pipeline, which begins before anybody else gets the VM's event."""
        vm = str(event["data"]["resourceUri"]).lower()
        if self._arm is not None and vm in self._other_deployments:
            self._other_deployments.discard(vm)
            self._arm.put_extension_as_other_deployer(vm, _BACKUP)


async def _start_later(arm: ArmSimulator, clock: Clock, vm: str) -> None:
    await _until(lambda: arm.machines[vm].provisioning_state == "Succeeded")
    await clock.sleep(_START_DELAY)
    arm.start_vm(vm)


async def _until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(_POLL)
