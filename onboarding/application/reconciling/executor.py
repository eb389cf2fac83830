"""Asking ARM for an extension: claim the write, send one PUT, record how ARM took it.

The check that will close the row is scheduled and the write is claimed before ARM is asked, so a crash at any line
leaves something written down that finishes the job. The claim stands in the machine's own row: one write of a machine
is in flight at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import replace

from onboarding.application.limits.circuit_breakers import Pauses
from onboarding.application.ports import Arm, Clock
from onboarding.application.reconciling.reconciliation import Case, Visit
from onboarding.application.reconciling.recorder import Recorder, after
from onboarding.domain.catalog.catalogue_entry import extension_body
from onboarding.domain.errors import ArmError, LostRace, StorageError
from onboarding.domain.failures.classification import classify, is_the_callers
from onboarding.domain.failures.evidence import NO_TOKEN, Evidence
from onboarding.domain.json_access import digest
from onboarding.domain.reconcile.decision import Install, Pace, Situation, Skip, Wait
from onboarding.domain.reconcile.machine_row import Claim, MachineRow
from onboarding.domain.reconcile.retry import after_refusal, proves_gone, trouble_of
from onboarding.domain.reconcile.row import Row, WaitingFor
from onboarding.domain.reconcile.row_builder import claim_of, requested, row_of, unanswered

_log = logging.getLogger(__name__)

_REFUSALS = range(400, 500)
# The request may have reached ARM although no answer came back.
_MAYBE_SENT = (
    "ServiceRequestError",
    "ServiceResponseError",
    "ServiceResponseTimeoutError",
    "IncompleteReadError",
    "TimeoutError",
)


class Installer:
    """Carries out `Install` decisions."""

    def __init__(self, arm: Arm, recorder: Recorder, pauses: Pauses, clock: Clock) -> None:
        self._arm = arm
        self._recorder = recorder
        self._pauses = pauses
        self._clock = clock

    def claimed(self, case: Case, install: Install) -> Row:
        """The row that claims the install."""
        visit, situation = case.visit, case.situation
        ends = visit.now + situation.pace.waits[WaitingFor.CLAIM].first
        return claim_of(situation, install, ends, visit.opening)

    async def install(
        self, case: Case, install: Install, claim: Row, machine: MachineRow, others: Sequence[Row]
    ) -> Visit | None:
        """Send one request; `others` are what this pass says of the machine's other extensions. Where ARM surely did
        not take it, the visit that may go on with these.

        Raises LostRace when another worker has the machine, StorageError when nothing could be claimed, and ArmError
        where a person may not ask for it: then nothing has changed."""
        visit, situation = case.visit, case.situation
        tag = f"try-{install.attempt}-{situation.now:%Y%m%d%H%M%S}" if install.force else ""
        body = extension_body(
            situation.entry, situation.facts.location, case.settings.public, case.settings.protected, tag
        )
        machine = replace(machine, claim=_claim(case, install, tag))
        versions = await self._recorder.claim(visit, machine, claim, others)
        case = replace(case, visit=after(visit, machine, versions, [claim, *others]))
        refused = False
        try:
            await self._arm.start_install(visit.vm, install.name, body)
        except ArmError as error:
            if visit.personal and self._is_the_callers(situation, error):
                # What a person may not do is no truth about the machine: the app's own identity may well do it.
                free = replace(machine, claim=None)
                await self._recorder.undo(visit, free, versions, case.extension)
                raise
            row = await self._refused(case, error, claim)
            refused = error.evidence.http_status in _REFUSALS and not row.in_flight
        else:
            if case.extension in visit.cleared:
                now = self._clock()
                await self._pauses.lift(visit.vm, case.extension, claim.sent_digest, now, now, installed=False)
            row = requested(claim, f"ARM accepted the request ({install.reason})", self._clock())
        try:
            written = await self._record(case, machine, row, situation.last)
        except StorageError as error:
            # ARM has the request, and the claim's check is scheduled: it settles from what ARM says.
            _log.warning("%s %s: the request could not be recorded: %s", visit.vm.name, case.extension, error)
            return None
        return written if refused else None

    def _is_the_callers(self, situation: Situation, error: ArmError) -> bool:
        return is_the_callers(error.evidence, classify(error.evidence, situation.entry.errors, self._clock()))

    async def _refused(self, case: Case, error: ArmError, claim: Row) -> Row:
        """A refusal that says "not now" is no attempt; one whose effect is unknown may have been the first."""
        situation, now = case.situation, self._clock()
        failure = classify(error.evidence, situation.entry.errors, now)
        if _maybe_sent(error.evidence):
            return unanswered(claim, trouble_of(failure, error.evidence.text))
        pace = replace(situation.pace, now=now)
        decision = after_refusal(pace, failure, error.evidence.text)
        if proves_gone(failure):  # of the machine, only a read of it does
            decision = pace.wait_on(WaitingFor.OPERATION, failure.meaning, trouble_of(failure, error.evidence.text))
        if not case.visit.personal:
            await self._pauses.heed(
                case.visit.vm, case.extension, claim.sent_digest, decision, now, sent=situation.settings
            )
        row = _row(situation, claim, decision)
        if not isinstance(decision, Wait):
            return row
        sent = error.evidence.code not in NO_TOKEN
        least = 1 if sent and decision.waiting_for is WaitingFor.PLATFORM else 0
        return replace(row, attempt=max(least, claim.attempt - 1))

    async def _record(self, case: Case, machine: MachineRow, row: Row, before: Row | None) -> Visit | None:
        """The visit after it; None where somebody else goes on. A request that came to nothing but the same wait again,
        such as the probe of a pause, is no line of history."""
        if not row.in_flight:
            machine = replace(machine, claim=None)
        try:
            versions = await self._recorder.record(case.visit, machine, [row], again=True, beyond=before)
        except LostRace:
            # The install's own event overtook us and wrote the truth; only the history is ours to complete.
            await self._recorder.append(case.visit, row)
            return None
        return after(case.visit, machine, versions, [row]) if versions else None


def _claim(case: Case, install: Install, tag: str) -> Claim:
    situation, visit = case.situation, case.visit
    before = visit.known.machine.row.claim if visit.known.machine else None
    same = before is not None and (before.target, before.attempt) == (case.extension, install.attempt)
    last = situation.last
    resent = before is not None and same and last is not None and last.waiting_for is WaitingFor.CLAIM
    return Claim(
        target=case.extension,
        step="extension",
        attempt=install.attempt,
        digest=digest([install.name, situation.entry.version, situation.settings_digest, tag]),
        at=visit.now,
        trigger=visit.trigger.id,
        sends=before.sends + 1 if before is not None and resent else 1,
    )


def _maybe_sent(evidence: Evidence) -> bool:
    return evidence.http_status is None and evidence.code in _MAYBE_SENT


def _row(situation: Situation, claim: Row, decision: Wait | Skip) -> Row:
    """The row that follows the claim: its episode goes on."""
    claimed = replace(situation, pace=Pace(claim, situation.pace.waits, situation.now))
    return row_of(claimed, decision, (claim.event_id, claim.event_time or situation.now, claim.correlation_id))
