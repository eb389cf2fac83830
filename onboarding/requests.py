"""A person's request for chosen VMs: the same reading, decision, claim and row as for an event.

What a person adds is a reason: a final row opens again, a paused scope is probed. While the person waits, what would
come by event or timed message is looked for as well, so that the request ends even where no function app runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from onboarding.core.asked import Asked
from onboarding.core.decision import Decision, Situation
from onboarding.core.errors import LostRace
from onboarding.core.outcome import Row
from onboarding.core.resource_id import VmId, parse_id
from onboarding.core.selection import Selection
from onboarding.enforce import Enforcement, Rules
from onboarding.events import Trigger
from onboarding.ports import Ports
from onboarding.visit import Visit


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be done for one extension of a VM, and on what grounds."""

    situation: Situation
    decision: Decision


class Requests:
    """One per command."""

    def __init__(self, ports: Ports, rules: Rules) -> None:
        self._ports = ports
        self._enforcement = Enforcement(ports, rules)
        self._extensions = frozenset(rules.catalogue)

    async def ask(self, vm: VmId, asked: Asked) -> Mapping[str, Row]:
        """Do what a person asks for; the VM's rows by extension. Raises StorageError, and ArmError for a VM that
        cannot be read and has no row."""
        with suppress(LostRace):  # whoever won has the VM in hand
            await self._enforcement.visit(await self._visit(vm, asked))
        return await self.rows(vm)

    async def follow(self, vm: VmId) -> Mapping[str, Row]:
        """The VM's rows; one that is not final yet costs a look at the VM. Raises StorageError."""
        rows = await self.rows(vm)
        if all(row.outcome.final for row in rows.values()):
            return rows
        with suppress(LostRace):
            await self._enforcement.visit(await self._visit(vm, None))
        return await self.rows(vm)

    async def preview(self, vm: VmId, asked: Asked) -> tuple[Preview, ...]:
        """What `ask` would do. Nothing is written, and ARM is asked for nothing but to be read. Raises as `ask`."""
        cases = await self._enforcement.preview(await self._visit(vm, asked))
        return tuple(Preview(case.situation, decision) for case, decision in cases)

    async def select(self, selection: Selection) -> tuple[VmId, ...]:
        """The VMs of the rows that are selected, each once. Raises StorageError."""
        found: dict[str, VmId] = {}
        async for row in self._ports.ledger.current(selection):
            if isinstance(vm := parse_id(row.resource_id), VmId):
                found[vm.key] = vm
        return tuple(found.values())

    async def rows(self, vm: VmId) -> Mapping[str, Row]:
        known = await self._ports.ledger.read(vm)
        return {extension: stored.row for extension, stored in known.targets.items()}

    async def _visit(self, vm: VmId, asked: Asked | None) -> Visit:
        now = self._ports.clock()
        reason = "request" if asked else "request.look"
        trigger = Trigger(f"{reason}.{now:%Y%m%dt%H%M%S.%fz}", now)
        probed = self._extensions if asked else frozenset()
        return Visit(vm, trigger, await self._ports.ledger.read(vm), now, cleared=probed, asked=asked)
