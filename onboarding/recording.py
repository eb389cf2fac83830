"""Writing a row down: its look first, then the row with its line of history, then telling of a final outcome."""

from __future__ import annotations

import asyncio
import logging

from onboarding.brakes import Brakes
from onboarding.core.errors import StorageError
from onboarding.core.outcome import Outcome, Row
from onboarding.pauses import Pauses
from onboarding.ports import Look, Ports
from onboarding.visit import Visit

_log = logging.getLogger(__name__)


class Recorder:
    """The one way by which rows are written."""

    def __init__(self, ports: Ports, pauses: Pauses, brakes: Brakes) -> None:
        self._ports = ports
        self._pauses = pauses
        self._brakes = brakes

    async def write(self, visit: Visit, row: Row, version: str | None, *, again: bool = False) -> str:
        """Write a row over the version that was read; the new version. `again`: this trigger wrote one before.

        Raises LostRace and StorageError; a look whose row was not written is dropped when it comes."""
        if row.next_attempt_at:
            await self._ports.deferrals.schedule(Look(visit.vm, row.extension, row.next_attempt_at), visit.now)
        return await self.write_scheduled(visit, row, version, again=again)

    async def write_scheduled(self, visit: Visit, row: Row, version: str | None, *, again: bool = False) -> str:
        """As `write`, for a row whose look is under way already."""
        written = await self._ports.ledger.write(row, visit.trigger, version, again=again)
        _log.info("%s %s: %s, %s", visit.vm.name, row.extension, row.outcome, row.reason)
        if row.outcome is Outcome.INSTALLED:
            await self._pauses.lift(visit.vm, row.extension, visit.now, installed=True)
        if row.outcome.final:
            await self._brakes.heed(row, visit.last(row.extension), visit.now)
            await self._tell(row)
        return written

    async def _tell(self, row: Row) -> None:
        """Tell at once; if that fails at any point, the note in the table has the sweep tell it again."""
        try:
            if await self._ports.announcer.announce(row):
                await self._ports.ledger.told(row)
        except StorageError as error:
            _log.warning("%s %s: %s", row.vm_name, row.extension, error)

    async def claim(self, visit: Visit, claim: Row) -> str:
        """Schedule the look and claim the row, side by side: whichever is lost, the other leads back here. A look
        without a claim is dropped; a claim without a look gets one when its event is delivered again."""
        due = claim.next_attempt_at or visit.now
        scheduled, claimed = await asyncio.gather(
            self._ports.deferrals.schedule(Look(visit.vm, claim.extension, due), visit.now),
            self._ports.ledger.claim(claim, visit.version(claim.extension)),
            return_exceptions=True,
        )
        for result in (claimed, scheduled):
            if isinstance(result, BaseException):
                raise result
        return str(claimed)

    async def append(self, visit: Visit, row: Row) -> None:
        await self._ports.ledger.append(row, visit.trigger)
