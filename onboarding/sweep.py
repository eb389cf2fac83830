"""The sweep: the timer that takes up what events and timed messages missed.

A row whose look is past was left behind: its message was lost, or its worker died between two steps. The sweep looks
in its place. It does nothing that a look would not do, so it may run twice or together with one.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from onboarding.core.errors import StorageError
from onboarding.core.outcome import Row
from onboarding.core.resource_id import VmId, parse_id
from onboarding.onboard import Onboarding
from onboarding.ports import Clock, Ledger, Look

_log = logging.getLogger(__name__)

# A message is late by the queue's polling interval at the most; a look that is later than this is not coming.
_GRACE = timedelta(minutes=2)
_AT_ONCE = 8


class Sweep:
    """One run looks at every row that is overdue."""

    def __init__(self, ledger: Ledger, onboarding: Onboarding, clock: Clock) -> None:
        self._ledger = ledger
        self._onboarding = onboarding
        self._clock = clock

    async def run(self) -> int:
        """Look at what is overdue; how many rows that were. Raises StorageError if the table cannot be read."""
        slots = asyncio.Semaphore(_AT_ONCE)
        overdue = [row async for row in self._ledger.overdue(self._clock() - _GRACE)]
        await asyncio.gather(*(self._look(row, slots) for row in overdue))
        if overdue:
            _log.info("sweep: looked at %d overdue rows", len(overdue))
        return len(overdue)

    async def _look(self, row: Row, slots: asyncio.Semaphore) -> None:
        vm = parse_id(row.resource_id)
        if not isinstance(vm, VmId) or row.next_attempt_at is None:
            return
        async with slots:
            try:
                await self._onboarding.look(Look(vm, row.extension, row.next_attempt_at))
            except StorageError as error:
                # The row stays overdue: the next sweep finds it again.
                _log.warning("%s %s: %s", row.vm_name, row.extension, error)
