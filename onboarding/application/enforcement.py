"""What a person's `onboard enforce` does: it takes up machines that a policy only audits since they are older than it.

The row of each opens and waits for its turn, and the machine gets a scheduled check for that time. So the function app
does the work as it does all other, under the policy's rollout limit and in every pause, and the sweep finds a check
that was lost. Neither ARM nor a machine is read here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from copy import replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import batched

from msgspec import Struct

from onboarding.application.limits.pauses import Pauses
from onboarding.application.notifications import EventRef
from onboarding.application.ports import Ports
from onboarding.application.reconciling.reconciliation import Reconciliation
from onboarding.application.reconciling.recorder import Recorder
from onboarding.application.rules import Rules
from onboarding.domain.errors import LostRace
from onboarding.domain.failures.classification import Cause
from onboarding.domain.limits.pause import Pause
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.existing_machines import what_would_be_done
from onboarding.domain.reconcile.row import Outcome, Row, Selection
from onboarding.domain.reconcile.row_builder import opened_by_person
from onboarding.domain.reconcile.taking_up import NOT_TAKEN_UP
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.logging import bound

_AT_ONCE = 32  # machines that are read and written concurrently


class Answer(StrEnum):
    """What becomes of a machine."""

    TAKEN_UP = "taken up"
    BEFORE = "taken up before"  # by somebody else, by an earlier command, or by a request of ours
    SKIPPED = "skipped"


class Enforced(Struct, frozen=True):
    """What became of one machine, or in a dry run would."""

    vm: VmId
    answer: Answer
    reason: str
    """What its row says that would be done, or why the machine is left out."""
    extension: str = ""
    """The catalogue entry's name; empty if the machine has no row of the policy."""
    words: str = ""
    """What is done, in words that machines with the same steps share: `would associate dcr-linux, install
    AgentForLinux`; empty if nothing is."""
    due: datetime | None = None
    """When the function app begins (UTC); None in a dry run, or if nothing is done."""


class _Found(Struct, frozen=True):
    """What one machine's rows say, and those of them that are to be opened."""

    results: list[Enforced]
    rows: list[Row] = []


class Enforcement(Struct, frozen=True):
    """Takes machines up for one policy. One per command."""

    ports: Ports
    rules: Rules
    recorder: Recorder
    pauses: Pauses
    policy: Policy
    per_minute: int
    """How many machines become due per minute and subscription."""

    async def find_pause(self, vms: Collection[VmId]) -> Pause | None:
        """A pause that covers what the policy writes to one of these machines. Raises StorageError."""
        for vm in {vm.subscription.lower(): vm for vm in vms}.values():
            if (pause := await self.pauses.find(vm, (self.policy.name,))) is not None:
                return pause
        return None

    async def select(self, selection: Selection, most: int | None = None) -> tuple[VmId, ...]:
        """The machines of these rows that the policy only audits since they are older, in the order of the table; at
        most so many. Raises StorageError."""
        found: dict[str, VmId] = {}
        async for row in self.ports.ledger.current(selection):
            if len(found) == most:
                break
            if self._spares(row) and isinstance(vm := parse_id(row.resource_id), VmId):
                found[vm.key] = vm
        return tuple(found.values())

    async def run(self, vms: Collection[VmId], *, dry_run: bool = False) -> AsyncIterator[Enforced]:
        """Take these machines up, or say what that would do. The results come in the order of the machines, one for
        each row of the policy. What was taken up stays so if this ends early. Raises StorageError."""
        now = self.ports.clock()
        by = "" if dry_run or self.ports.caller is None else await self.ports.caller()
        places: Counter[str] = Counter()
        for some in batched(vms, _AT_ONCE, strict=False):
            jobs = []
            for vm in some:
                minutes = places[vm.subscription.lower()] / self.per_minute
                places[vm.subscription.lower()] += 1
                jobs.append(self._one(vm, None if dry_run else now + timedelta(minutes=minutes), by))
            for results in await asyncio.gather(*jobs):
                for result in results:
                    yield result

    async def _one(self, vm: VmId, due: datetime | None, by: str) -> list[Enforced]:
        """What becomes of one machine; with `due`, it is taken up for that time. `by` is the person's object id."""
        while True:
            known, now = await self.ports.ledger.read(vm), self.ports.clock()
            found = self._judge(vm, [stored.row for stored in known.targets.values()], now)
            if due is None or not found.rows:
                return found.results
            trigger = EventRef(f"request.enforce.{now:%Y%m%dt%H%M%S.%fz}", now)
            work = Reconciliation(vm, trigger, known, now)
            opened = [opened_by_person(row, work.event_key, max(due, now), by) for row in found.rows]
            try:
                with bound(machine=str(vm), event_id=trigger.id):
                    await self.recorder.record(work, work.machine_row(rows=opened), opened)
            except LostRace:
                continue  # somebody else wrote the rows first, and perhaps took the machine up
            return [replace(each, due=max(due, now)) if each.words else each for each in found.results]

    def _judge(self, vm: VmId, rows: Sequence[Row], now: datetime) -> _Found:
        name = self.policy.name
        ours = [row for row in rows if row.policy == name]
        if not ours:
            why = f"policy {name} does not decide for it" if rows else "it has no row yet"
            return _Found([Enforced(vm, Answer.SKIPPED, f"{why}; `onboard install` says what is done")])
        opens = [row for row in ours if self._spares(row)]
        if opens and (exempt := next((each for each in self.policy.exemptions if each.holds(vm, now)), None)):
            return _Found([Enforced(vm, Answer.SKIPPED, f"exempt from policy {name} ({exempt})", opens[0].extension)])
        return _Found([self._result(vm, row, opens=row in opens) for row in ours], opens)

    def _result(self, vm: VmId, row: Row, *, opens: bool) -> Enforced:
        if opens:
            entry = self.rules.catalogue.get(row.extension)
            words = what_would_be_done(row, entry.type if entry else row.extension)
            return Enforced(vm, Answer.TAKEN_UP, row.reason, row.extension, words)
        before = row.taken_up not in ("", NOT_TAKEN_UP) and row.outcome is not Outcome.GONE
        when = f", taken up {row.taken_up}" if before else ""
        reason = f"its row is {row.outcome}{when}: {row.reason}"
        return Enforced(vm, Answer.BEFORE if before else Answer.SKIPPED, reason, row.extension)

    def _spares(self, row: Row) -> bool:
        is_existing = row.outcome is Outcome.AUDITED and row.cause == Cause.EXISTING_MACHINE
        return is_existing and row.policy == self.policy.name
