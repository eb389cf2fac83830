"""What a sweep may ask for, what it asks for, and what it says of itself in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec import Struct

from onboarding.application.ports import Message, Ports, ReconcileRequest
from onboarding.domain.reconcile.drift import GRACE_PERIOD, Finding, Reason, RowSummary
from onboarding.domain.reconcile.sweep_requests import MOST, Unanswered, request_key
from onboarding.domain.resource_id import VmId
from onboarding.settings import Settings

AT_ONCE = 32  # messages
_NAMED = 50  # of what could not be read; the others are counted


class Budget(Struct, frozen=True):
    """How many visits a run may ask for, and how many of them a subscription bears in a minute. A visit costs a read
    and at the most one write, and ARM takes 500 writes to VMs a minute: what is left is for events and for others.
    `patience` is how long events and looks have to do their work before a sweep does it. `longest` is how long a run
    may take; the host ends one after five minutes, and with it all that its process is at."""

    requested: int = 5000
    per_minute: int = 400
    grace_period: timedelta = GRACE_PERIOD
    longest: timedelta = timedelta(minutes=4)

    @property
    def grace(self) -> timedelta:
        """A look is late by the queue's polling interval at the most; one that is later than this is not coming."""
        return self.grace_period / 5

    @property
    def held(self) -> timedelta:
        """Longer than any run, so that only a run that died is taken over from."""
        return self.grace_period * 3 / 5

    @property
    def digested(self) -> timedelta:
        """So long after the last visit was due, what came of it is in the table."""
        return self.grace_period / 2

    @property
    def asked_again(self) -> timedelta:
        """So long after it was asked for, what has no answer is asked for once more: its message may be lost."""
        return self.grace_period * 6

    @property
    def repeated(self) -> timedelta:
        """What has no answer then either needs more than a message: from now on it is asked for once in so long."""
        return self.grace_period * 144

    @property
    def stable(self) -> timedelta:
        """Longer than workers of two versions are at work at a time: a policy that is that old is everybody's."""
        return self.grace_period * 3 / 2

    @classmethod
    def of(cls, settings: Settings) -> Budget:
        default = cls()
        per_minute = settings.sweep_visits_per_minute or default.per_minute
        return cls(settings.sweep_visits or default.requested, per_minute, settings.sweep_patience)


class SweepFilter(Struct, frozen=True):
    """What a person may narrow a run to. A dry run asks for nothing and leaves no trace."""

    policy: str = ""
    subscription: str = ""
    dry_run: bool = False

    @property
    def whole(self) -> bool:
        return not (self.policy or self.subscription)


@dataclass(slots=True)
class SweepReport:
    """How many rows and VMs a run took up, and why.

    `skipped`: an earlier run asked for it, nobody has answered, and it is too early to ask again; `repeated`: asked for
    once more. `poison`: messages of the poison queue that nobody needed any more. `held`: another run is under way.
    `busy`: what an earlier run asked for is on its way. `stopped`: why there is something left for the next run."""

    machines: int = 0
    overdue: int = 0
    announced: int = 0
    missed: int = 0
    drifted: int = 0
    failed: int = 0
    gone: int = 0
    changed: int = 0
    skipped: int = 0
    repeated: int = 0
    poison: int = 0
    unnamed: int = 0
    held: bool = False
    busy: bool = False
    stopped: str = ""
    unread: list[str] = field(default_factory=list)

    @property
    def requested(self) -> int:
        return self.missed + self.drifted + self.failed + self.gone + self.changed

    @property
    def complete(self) -> bool:
        return not (self.held or self.busy or self.stopped or self.unread)

    def could_not_read(self, what: str) -> None:
        """Name something that could not be read; a long list of names is cut, and the rest counted."""
        if len(self.unread) < _NAMED:
            self.unread.append(what)
        else:
            self.unnamed += 1

    def stop(self, why: str) -> None:
        self.stopped = f"{self.stopped}, {why}" if self.stopped else why

    def __str__(self) -> str:
        if self.held:
            return "another sweep is under way"
        names = ("machines", "overdue", "announced", *Reason)
        parts = [", ".join(f"{getattr(self, name)} {name}" for name in names)]
        parts += [f"{self.skipped} asked for before and not answered yet"] if self.skipped else []
        parts += [f"{self.repeated} asked for once more"] if self.repeated else []
        parts += [f"{self.poison} removed from the poison queue, as nothing waits for them"] if self.poison else []
        parts += ["what an earlier sweep found is still being visited"] if self.busy else []
        parts += [f"stopped: {self.stopped}"] if self.stopped else []
        parts += [f"could not read {each}" for each in self.unread]
        return "; ".join([*parts, *([f"could not read {self.unnamed} more"] if self.unnamed else [])])


class SweepListener:
    """Sees a run from beside it; this one looks away."""

    def compared(self, report: SweepReport) -> None:
        """One more VM was compared."""

    def found(self, vm: VmId, finding: Finding) -> None:
        """A VM has to be visited."""


class Stopped(Exception):
    """This run has done its share; the next one goes on."""


class OutOfTime(Stopped):
    """The run has taken as long as it may."""


class Refused(Stopped):
    """The inventory answers nobody for a while."""


class SweepQueue:
    """What one run asks for: spread over time so that ARM bears it, and sent some at a time."""

    def __init__(self, ports: Ports, budget: Budget, sweep_filter: SweepFilter, listener: SweepListener) -> None:
        self._ports = ports
        self._budget = budget
        self._listener = listener
        self.sweep_filter = sweep_filter
        self.report = SweepReport()
        self.started = ports.clock()
        self.settled = self.started - budget.grace_period
        self.busy_until: datetime | None = None
        self.remember(b"")
        self._asked: dict[str, int] = {}
        self._waiting: list[tuple[int, Message]] = []
        self._keys: set[int] = set()  # what this run has asked for

    def remember(self, unanswered: bytes) -> None:
        """What earlier runs asked for and nobody has answered."""
        self.unanswered = Unanswered(unanswered, self.started, self._budget.asked_again, self._budget.repeated)

    def check(self, share: float = 1) -> None:
        """Raises OutOfTime when the run has used up that share of its time."""
        if self._ports.clock() - self.started > self._budget.longest * share:
            raise OutOfTime(f"after {self._budget.longest * share}")

    def compared(self) -> None:
        """One more VM was compared. Raises OutOfTime when the run has gone on for too long."""
        self.report.machines += 1
        self._listener.compared(self.report)
        self.check()

    async def request(self, vm: VmId, finding: Finding, vm_id: str, summaries: Iterable[RowSummary]) -> None:
        """Ask for a visit, unless it was asked for already. Raises Stopped when the budget is used up."""
        key = request_key(vm, finding, vm_id, summaries)
        if key in self._keys:
            return
        if self.unanswered.pending(key):
            self.report.skipped += 1
            return
        if not self.sweep_filter.dry_run:
            self._check_budget()
        self._keys.add(key)
        self.report.repeated += key in self.unanswered
        setattr(self.report, finding.reason, getattr(self.report, finding.reason) + 1)
        self._listener.found(vm, finding)
        if not self.sweep_filter.dry_run:
            await self._put(ReconcileRequest(vm, finding.reason.value, self._due(vm)), key)

    def _check_budget(self) -> None:
        if self.report.requested >= self._budget.requested:
            raise Stopped(f"after {self._budget.requested} visits")
        if self.unanswered.full:
            raise Stopped(f"{MOST} visits have no answer")

    async def _put(self, message: Message, key: int) -> None:
        self._waiting.append((key, message))
        if len(self._waiting) >= AT_ONCE:
            await self.send()

    async def send(self) -> None:
        """Put on the queue what waits. Raises StorageError; the next run finds again what was not sent."""
        batch, self._waiting = self._waiting, []
        await self.schedule(message for _, message in batch)
        self.unanswered.remember(key for key, _ in batch)
        if batch:
            sent = max(message.due for _, message in batch) + self._budget.digested
            self.busy_until = max(self.busy_until or sent, sent)

    async def schedule(self, messages: Iterable[Message]) -> None:
        """Put them on the queue at once. Raises StorageError after it has tried them all."""
        now = self._ports.clock()
        jobs = (self._ports.schedule_queue.schedule(message, now) for message in messages)
        for failure in await asyncio.gather(*jobs, return_exceptions=True):
            if failure is not None:
                raise failure

    def _due(self, vm: VmId) -> datetime:
        before = self._asked.get(vm.subscription.lower(), 0)
        self._asked[vm.subscription.lower()] = before + 1
        return self.started + timedelta(minutes=before / self._budget.per_minute)
