"""The requests of one sweep: their budget, their way to the schedule queue, and the report of the run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct, field

from onboarding.application.ports import Message, Ports, ReconcileRequest
from onboarding.domain.reconcile.drift import GRACE_PERIOD, Finding, Reason, RowSummary
from onboarding.domain.reconcile.sweep_requests import MOST, Unanswered, request_key
from onboarding.domain.resource_id import VmId
from onboarding.settings import HISTORY_DAYS, Settings

AT_ONCE = 32  # messages that are sent concurrently
_MAX_NAMED = 50  # names of what could not be read; the others are counted


class Budget(Struct, frozen=True):
    """The limits of one run of the sweep."""

    requested: int = 5000
    """How many reconciliations a run may request."""
    per_minute: int = 400
    """How many of them become due per minute and subscription. Each costs a read and at most one write; ARM accepts 500
    writes to VMs a minute, so events and other callers keep the rest."""
    grace_period: timedelta = GRACE_PERIOD
    """How long events and scheduled checks have for their work before the sweep does it (`SWEEP_PATIENCE`)."""
    longest: timedelta = timedelta(minutes=4)
    """How long a run may take. The host kills its process after five minutes."""
    history: timedelta = timedelta(days=HISTORY_DAYS)
    """How long history is kept, and the rows of machines that are `Gone` (`HISTORY_DAYS`)."""

    @property
    def grace(self) -> timedelta:
        """How late a scheduled check may be. The queue's polling interval delays it by less; after this, it is lost."""
        return self.grace_period / 5

    @property
    def held(self) -> timedelta:
        """How long a run holds the sweep: longer than any run, so that only a run that died is replaced."""
        return self.grace_period * 3 / 5

    @property
    def heartbeats_held(self) -> timedelta:
        """How long a worker uses an answer about all heartbeats of a workspace."""
        return self.grace_period / 2

    @property
    def settle_time(self) -> timedelta:
        """How long after its due time a reconciliation has written its rows."""
        return self.grace_period / 2

    @property
    def request_again_after(self) -> timedelta:
        """How long after a request without a result it is sent again, since its message may be lost."""
        return self.grace_period * 6

    @property
    def repeated(self) -> timedelta:
        """How often a request is sent that has no result after the second time either."""
        return self.grace_period * 144

    @property
    def stable(self) -> timedelta:
        """How long a policy must be unchanged before final rows reopen for it: longer than a rolling deployment, in
        which workers of two versions run."""
        return self.grace_period * 3 / 2

    @classmethod
    def of(cls, settings: Settings) -> Budget:
        """The budget that the settings say."""
        default = cls()
        per_minute = settings.sweep_requests_per_minute or default.per_minute
        return cls(
            settings.sweep_requests or default.requested,
            per_minute,
            settings.sweep_grace_period,
            history=timedelta(days=settings.history_days),
        )


class SweepFilter(Struct, frozen=True):
    """What a person wants of a run."""

    policy: str = ""
    """Only findings of the policy of this name; empty: of all policies."""
    subscription: str = ""
    """Only the subscription with this id; empty: all that the policies name."""
    dry_run: bool = False
    """Whether the run only compares: it requests nothing and writes nothing."""
    count: bool = False
    """Whether it counts the rows even if the last count is less than an hour old."""

    @property
    def whole(self) -> bool:
        """Whether the run covers all policies and subscriptions."""
        return not (self.policy or self.subscription)


class SweepReport(Struct):
    """What one run compared, found and requested."""

    machines: int = 0
    """VMs of the inventory that were compared."""
    overdue: int = 0
    """Machines with a row whose scheduled check was late, to which a check was sent again."""
    announced: int = 0
    """Unpublished outcomes that were published."""
    missed: int = 0
    """VMs that lack the extension as a policy wants it, and have no row for it."""
    drifted: int = 0
    """VMs whose row says that the extension is there, while it is missing or not as the policy wants it."""
    failed: int = 0
    """VMs whose extension has failed, while the row does not say so."""
    gone: int = 0
    """VMs with rows that the inventory does not have."""
    changed: int = 0
    """VMs whose final row is of an earlier version of the policy."""
    association: int = 0
    """VMs whose row says that all is done, while an association with a data collection rule or endpoint is missing."""
    outdated: int = 0
    """VMs whose row says that we installed the extension, which is to be updated since policy or catalogue changed."""
    resumed: int = 0
    """VMs with a row that waits for a circuit breaker that has closed, or for a pause that has ended."""
    heartbeat: int = 0
    """VMs with a removal that waits for a heartbeat of another agent, which has come."""
    skipped: int = 0
    """Findings that an earlier run requested, that have no result yet, and that are not due for another request."""
    repeated: int = 0
    """Findings that were requested again, since the first request had no result."""
    poison: int = 0
    """Messages that were removed from the poison queue because no row waits for them."""
    pruned: int = 0
    """Rows that were deleted since they are older than they are kept."""
    unpruned: str = ""
    """Why rows that are older than that could not be deleted; empty: nothing failed."""
    beside: dict[str, dict[str, int]] = field(default_factory=dict)
    """On how many VMs another data collection rule is beside a policy's own, by the ids of the two rules; both may send
    the same data. Of more than 50 pairs, the others are counted under an empty id."""
    unnamed: int = 0
    """How many entries `unread` leaves out."""
    held: bool = False
    """Whether nothing was done because another run is under way."""
    busy: bool = False
    """Whether nothing was compared because the requests of an earlier run are still being worked off."""
    stopped: str = ""
    """Why the run left something for the next; empty: it left nothing."""
    unread: list[str] = field(default_factory=list)
    """What could not be read, each with the reason; at most 50 entries."""

    @property
    def requested(self) -> int:
        """The number of reconciliations that were requested, or in a dry run would be."""
        return sum(getattr(self, reason) for reason in Reason)

    @property
    def complete(self) -> bool:
        """Whether the run compared everything, and could delete what is too old."""
        return not (self.held or self.busy or self.stopped or self.unread or self.unpruned)

    def could_not_read(self, what: str) -> None:
        """Add an entry to `unread`; when the list is full, count it instead."""
        if len(self.unread) < _MAX_NAMED:
            self.unread.append(what)
        else:
            self.unnamed += 1

    def count_beside(self, rule: str, others: Iterable[str]) -> None:
        """Count a VM that has these other rules beside a policy's own."""
        counts = self.beside.setdefault(rule, {})
        full = sum(map(len, self.beside.values())) >= _MAX_NAMED
        for other in {"" if full and each not in counts else each for each in others}:
            counts[other] = counts.get(other, 0) + 1

    def stop(self, why: str) -> None:
        self.stopped = f"{self.stopped}, {why}" if self.stopped else why

    def __str__(self) -> str:
        if self.held:
            return "another sweep is under way"
        names = ("machines", "overdue", "announced", *Reason)
        parts = [", ".join(f"{getattr(self, name)} {name}" for name in names)]
        parts += [f"{self.skipped} requested before and without a result yet"] if self.skipped else []
        parts += [f"{self.repeated} requested again"] if self.repeated else []
        parts += [f"{self.poison} removed from the poison queue, as nothing waits for them"] if self.poison else []
        parts += [
            _beside(rule, *pair) for rule, others in sorted(self.beside.items()) for pair in sorted(others.items())
        ]
        parts += [f"{self.pruned} rows pruned"] if self.pruned else []
        parts += [f"could not prune {self.unpruned}"] if self.unpruned else []
        parts += ["the requests of an earlier sweep are still being worked off"] if self.busy else []
        parts += [f"stopped: {self.stopped}"] if self.stopped else []
        parts += [f"could not read {each}" for each in self.unread]
        return "; ".join([*parts, *([f"could not read {self.unnamed} more"] if self.unnamed else [])])


def _beside(rule: str, other: str, machines: int) -> str:
    named = f"rule {_spoken(other)}" if other else "further rules"
    return f"{machines} VMs have {named} beside {_spoken(rule)}"


def _spoken(rule: str) -> str:
    """The rule's resource group and name."""
    parts = rule.split("/")
    return "/".join((*parts[4:5], parts[-1]))


class SweepListener:
    """Gets notice of a run's progress, for a person who watches. This base class ignores it."""

    def compared(self, report: SweepReport) -> None:
        """One more VM was compared."""

    def found(self, vm: VmId, finding: Finding) -> None:
        """A VM has to be reconciled."""


class Stopped(Exception):
    """The run ends here, and the next one continues."""


class OutOfTime(Stopped):
    """The run has used up its time."""


class Refused(Stopped):
    """The inventory throttles all callers."""


class SweepQueue:
    """The requests of one run. Their due times are spread so that ARM does not throttle; they are sent in batches."""

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
        self._requested: dict[str, int] = {}
        self._waiting: list[tuple[int, Message]] = []
        self._keys: set[int] = set()  # the requests of this run

    def remember(self, unanswered: bytes) -> None:
        """Load the requests of earlier runs that have no result yet."""
        self.unanswered = Unanswered(unanswered, self.started, self._budget.request_again_after, self._budget.repeated)

    def check(self, share: float = 1) -> None:
        """Raises OutOfTime if the run has used up that share (0 to 1) of its time."""
        if self._ports.clock() - self.started > self._budget.longest * share:
            raise OutOfTime(f"after {self._budget.longest * share}")

    def compared(self) -> None:
        """Count a VM that was compared. Raises OutOfTime if the run has used up its time."""
        self.report.machines += 1
        self._listener.compared(self.report)
        self.check()

    async def request(self, vm: VmId, finding: Finding, vm_id: str, summaries: Iterable[RowSummary]) -> None:
        """Request a reconciliation of the VM, unless a request for the same finding has no result yet. Raises Stopped
        if the budget is used up, and StorageError."""
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
            await self._enqueue(ReconcileRequest(vm, finding.reason.value, self._due(vm)), key)

    def _check_budget(self) -> None:
        if self.report.requested >= self._budget.requested:
            raise Stopped(f"after {self._budget.requested} requests")
        if self.unanswered.full:
            raise Stopped(f"{MOST} requests have no result")

    async def _enqueue(self, message: Message, key: int) -> None:
        self._waiting.append((key, message))
        if len(self._waiting) >= AT_ONCE:
            await self.send()

    async def send(self) -> None:
        """Send the batch that has been collected. Raises StorageError; the next run finds again what was not sent."""
        batch, self._waiting = self._waiting, []
        await self.schedule(message for _, message in batch)
        self.unanswered.remember(key for key, _ in batch)
        if batch:
            sent = max(message.due for _, message in batch) + self._budget.settle_time
            self.busy_until = max(self.busy_until or sent, sent)

    async def schedule(self, messages: Iterable[Message]) -> None:
        """Put the messages on the schedule queue, concurrently. Raises StorageError after all were tried."""
        now = self._ports.clock()
        jobs = (self._ports.schedule_queue.schedule(message, now) for message in messages)
        for failure in await asyncio.gather(*jobs, return_exceptions=True):
            if failure is not None:
                raise failure

    def _due(self, vm: VmId) -> datetime:
        before = self._requested.get(vm.subscription.lower(), 0)
        self._requested[vm.subscription.lower()] = before + 1
        return self.started + timedelta(minutes=before / self._budget.per_minute)
