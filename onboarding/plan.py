"""What a sweep may ask for, what it asks for, and what it says of itself in the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from onboarding.core.resource_id import VmId
from onboarding.core.survey import PATIENCE, Finding, Reason
from onboarding.ports import Message, Ports, Revisit
from onboarding.settings import Settings

_LONGEST = timedelta(minutes=4)  # a run; the host ends one after five
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Budget:
    """How many visits a run may ask for, and how many of them a subscription bears in a minute. A visit costs a read
    and at the most one write, and ARM takes 500 writes to VMs a minute: what is left is for events and for others.
    `patience` is how long events and looks have to do their work before a sweep does it."""

    visits: int = 5000
    per_minute: int = 400
    patience: timedelta = PATIENCE

    @property
    def grace(self) -> timedelta:
        """A look is late by the queue's polling interval at the most; one that is later than this is not coming."""
        return self.patience / 5

    @property
    def held(self) -> timedelta:
        """Longer than any run, so that only a run that died is taken over from."""
        return self.patience * 3 / 5

    @property
    def digested(self) -> timedelta:
        """So long after the last visit was due, what came of it is in the table."""
        return self.patience / 2

    @classmethod
    def of(cls, settings: Settings) -> Budget:
        default = cls()
        per_minute = settings.sweep_visits_per_minute or default.per_minute
        return cls(settings.sweep_visits or default.visits, per_minute, settings.sweep_patience)


@dataclass(frozen=True, slots=True)
class Order:
    """What a person may narrow a run to. A dry run asks for nothing and leaves no trace."""

    policy: str = ""
    subscription: str = ""
    dry_run: bool = False

    @property
    def whole(self) -> bool:
        return not (self.policy or self.subscription)


@dataclass(slots=True)
class SweepReport:
    """How many rows and VMs a run took up, and why. `held`: another run is under way. `busy`: what an earlier run asked
    for is on its way. `stopped`: why there is something left for the next run."""

    machines: int = 0
    overdue: int = 0
    announced: int = 0
    missed: int = 0
    drifted: int = 0
    failed: int = 0
    gone: int = 0
    held: bool = False
    busy: bool = False
    stopped: str = ""
    unread: list[str] = field(default_factory=list)

    @property
    def visits(self) -> int:
        return self.missed + self.drifted + self.failed + self.gone

    @property
    def complete(self) -> bool:
        return not (self.held or self.busy or self.stopped or self.unread)

    def __str__(self) -> str:
        if self.held:
            return "another sweep is under way"
        names = ("machines", "overdue", "announced", *Reason)
        parts = [", ".join(f"{getattr(self, name)} {name}" for name in names)]
        parts += ["what an earlier sweep found is still being visited"] if self.busy else []
        parts += [f"stopped: {self.stopped}"] if self.stopped else []
        return "; ".join([*parts, *(f"could not read {each}" for each in self.unread)])


class Watch:
    """Sees a run from beside it; this one looks away."""

    def compared(self, report: SweepReport) -> None:
        """One more VM was compared."""

    def found(self, vm: VmId, finding: Finding) -> None:
        """A VM has to be visited."""


class Stopped(Exception):
    """This run has done its share; the next one goes on."""


class Plan:
    """What one run asks for: spread over time so that ARM bears it, and sent some at a time."""

    def __init__(self, ports: Ports, budget: Budget, order: Order, watch: Watch) -> None:
        self._ports = ports
        self._budget = budget
        self._watch = watch
        self.order = order
        self.report = SweepReport()
        self.started = ports.clock()
        self.settled = self.started - budget.patience
        self.busy_until: datetime | None = None
        self._asked: dict[str, int] = {}
        self._waiting: list[Message] = []

    def compared(self) -> None:
        """One more VM was compared. Raises Stopped when the run has gone on for too long."""
        self.report.machines += 1
        self._watch.compared(self.report)
        if self._ports.clock() - self.started > _LONGEST:
            raise Stopped(f"after {_LONGEST}")

    async def visit(self, vm: VmId, finding: Finding) -> None:
        """Ask for a visit. Raises Stopped when the budget is used up."""
        if not self.order.dry_run and self.report.visits >= self._budget.visits:
            raise Stopped(f"after {self._budget.visits} visits")
        setattr(self.report, finding.reason, getattr(self.report, finding.reason) + 1)
        self._watch.found(vm, finding)
        if not self.order.dry_run:
            await self.put(Revisit(vm, finding.reason.value, self._due(vm)))

    async def put(self, message: Message) -> None:
        self._waiting.append(message)
        if len(self._waiting) >= _AT_ONCE:
            await self.send()

    async def send(self) -> None:
        """Put on the queue what waits. Raises StorageError after it has tried them all: the next run finds the rest."""
        now, batch = self._ports.clock(), self._waiting
        self._waiting = []
        jobs = (self._ports.deferrals.schedule(message, now) for message in batch)
        for failure in await asyncio.gather(*jobs, return_exceptions=True):
            if failure is not None:
                raise failure

    def _due(self, vm: VmId) -> datetime:
        before = self._asked.get(vm.subscription.lower(), 0)
        self._asked[vm.subscription.lower()] = before + 1
        due = self.started + timedelta(minutes=before / self._budget.per_minute)
        self.busy_until = max(self.busy_until or due, due + self._budget.digested)
        return due
