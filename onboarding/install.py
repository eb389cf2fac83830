"""Asking ARM for an extension: claim the row, send one PUT, record how ARM took it.

The look that will close the row is scheduled and the row is claimed before ARM is asked, so a crash at any line leaves
something written down that finishes the job.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from onboarding.core.catalog import extension_body
from onboarding.core.decision import Install, Pace, Situation, Skip, Wait
from onboarding.core.errors import ArmError, LostRace, StorageError
from onboarding.core.failures import classify
from onboarding.core.outcome import Row, WaitingFor
from onboarding.core.record import claim_of, requested, row_of
from onboarding.core.retries import after_refusal
from onboarding.pauses import Pauses
from onboarding.ports import Arm, Clock
from onboarding.recording import Recorder
from onboarding.visit import Case

_log = logging.getLogger(__name__)


class Installer:
    """Carries out `Install` decisions."""

    def __init__(self, arm: Arm, recorder: Recorder, pauses: Pauses, clock: Clock) -> None:
        self._arm = arm
        self._recorder = recorder
        self._pauses = pauses
        self._clock = clock

    async def install(self, case: Case, install: Install) -> None:
        """Raises LostRace when another worker has the row, StorageError when it could not be claimed."""
        visit, situation = case.visit, case.situation
        claim_ends = visit.now + situation.pace.waits[WaitingFor.CLAIM].first
        claim = claim_of(situation, install, claim_ends, visit.opening)
        version = await self._recorder.claim(visit, claim)
        row = await self._ask(case, install, claim)
        try:
            await self._record(case, row, claim, version)
        except StorageError as error:
            # ARM has the request, and the claim's look is scheduled: it settles from what ARM says.
            _log.warning("%s %s: the request could not be recorded: %s", visit.vm.name, case.extension, error)

    async def _ask(self, case: Case, install: Install, claim: Row) -> Row:
        """One PUT; the row that tells how ARM took it."""
        situation, visit = case.situation, case.visit
        tag = f"try-{install.attempt}-{situation.now:%Y%m%d%H%M%S}" if install.force else ""
        settings = case.settings
        body = extension_body(situation.entry, situation.facts.location, settings.public, settings.protected, tag)
        try:
            await self._arm.start_install(visit.vm, install.name, body)
        except ArmError as error:
            return await self._refused(case, error, claim)
        if case.extension in visit.cleared:
            await self._pauses.lift(visit.vm, case.extension, visit.now, installed=False)
        return requested(claim, f"ARM accepted the request ({install.reason})", self._clock())

    async def _refused(self, case: Case, error: ArmError, claim: Row) -> Row:
        """A refusal that says "not now" is no attempt; one whose effect is unknown may have been the first."""
        situation, now = case.situation, self._clock()
        failure = classify(error.evidence, situation.entry.errors, now)
        decision = after_refusal(replace(situation.pace, now=now), failure, error.evidence.text)
        await self._pauses.heed(case.visit.vm, case.extension, decision, now)
        row = _row(situation, claim, decision)
        if not isinstance(decision, Wait):
            return row
        least = 1 if decision.waiting_for is WaitingFor.PLATFORM else 0
        return replace(row, attempt=max(least, claim.attempt - 1))

    async def _record(self, case: Case, row: Row, claim: Row, version: str) -> None:
        write = self._recorder.write
        if row.next_attempt_at == claim.next_attempt_at:
            write = self._recorder.write_scheduled
        try:
            await write(case.visit, row, version, again=True)
        except LostRace:
            # The install's own event overtook us and wrote the truth; only the history is ours to complete.
            await self._recorder.append(case.visit, row)


def _row(situation: Situation, claim: Row, decision: Wait | Skip) -> Row:
    """The row that follows the claim: its episode goes on."""
    claimed = replace(situation, pace=Pace(claim, situation.pace.waits, situation.now))
    return row_of(claimed, decision, (claim.event_id, claim.event_time or situation.now, claim.correlation_id))
