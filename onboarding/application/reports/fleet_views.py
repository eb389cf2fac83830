"""What a fleet's counts say: how much is onboarded, since when, what is missing and who can do something about it.

Pure, over the counts of `row_queries`. Whoever shows numbers folds them here, so that all show the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum

from msgspec import Struct

from onboarding.application.row_queries import SubscriptionCounts
from onboarding.domain.failures.classification import Cause
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.row_totals import Activity, RowKind

ONBOARDED = (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED, Outcome.REMOVED)
NOT_IN_SCOPE = (Outcome.OUT_OF_SCOPE, Outcome.GONE)
FORMULA = "onboarded ÷ in scope"
FORMULA_IN_WORDS = (
    f"onboarded are the rows that are {', '.join(ONBOARDED[:-1])} or {ONBOARDED[-1]};"
    f" in scope are all rows but {' and '.join(NOT_IN_SCOPE)}"
)


class Share(Struct, frozen=True):
    """How much of something is onboarded, in rows: one for each machine and extension."""

    onboarded: int = 0
    in_scope: int = 0

    @classmethod
    def of(cls, kinds: Mapping[RowKind, int]) -> Share:
        onboarded = sum(rows for kind, rows in kinds.items() if kind.outcome in ONBOARDED)
        outside = sum(rows for kind, rows in kinds.items() if kind.outcome in NOT_IN_SCOPE)
        return cls(onboarded, sum(kinds.values()) - outside)

    @property
    def percent(self) -> float | None:
        """From 0 to 100; None: nothing is in scope."""
        return 100 * self.onboarded / self.in_scope if self.in_scope else None

    def __add__(self, other: Share) -> Share:
        return Share(self.onboarded + other.onboarded, self.in_scope + other.in_scope)


class Part(Struct, frozen=True):
    """The numbers of a subscription, or of a policy."""

    name: str
    share: Share
    needs_person: int
    open: int
    rows: int
    as_of: datetime | None = None
    complete: bool = True

    @classmethod
    def of(cls, name: str, kinds: Mapping[RowKind, int], as_of: datetime | None = None, complete: bool = True) -> Part:
        person = sum(rows for kind, rows in kinds.items() if kind.outcome.needs_person)
        open_rows = sum(rows for kind, rows in kinds.items() if not kind.outcome.final)
        return cls(name, Share.of(kinds), person, open_rows, sum(kinds.values()), as_of, complete)


class Owner(StrEnum):
    """Who can do something about a failure."""

    MACHINE = "owner of the machine"
    RIGHTS = "whoever gives rights in Azure"
    POLICY = "author of the policy"
    PLATFORM = "platform team"
    TIME = "nobody; it passes"


_OWNERS: Mapping[Owner, tuple[Cause, ...]] = {
    Owner.RIGHTS: (
        Cause.NOT_AUTHORIZED,
        Cause.BLOCKED_BY_POLICY,
        Cause.RESOURCE_LOCKED,
        Cause.SUBSCRIPTION_NOT_REGISTERED,
        Cause.SUBSCRIPTION_DISABLED,
        Cause.WORKSPACE_UNREADABLE,
    ),
    Owner.POLICY: (
        Cause.UNSUPPORTED_OS,
        Cause.BAD_CONFIGURATION,
        Cause.BAD_REQUEST,
        Cause.IDENTITY_CONFLICT,
        Cause.IDENTITY_REFUSED,
        Cause.ENDPOINT_CONFLICT,
        Cause.ASSOCIATION_MISSING,
        Cause.EXISTING_MACHINE,
    ),
    Owner.PLATFORM: (Cause.CONTESTED, Cause.IDENTITY_LOST, Cause.UNKNOWN),
    Owner.TIME: (Cause.THROTTLED, Cause.OPERATION_IN_PROGRESS, Cause.PLATFORM_ERROR, Cause.VM_GONE),
}


def owner_of(cause: str) -> Owner:
    """Who can do something about a failure of that cause; on the machine itself, its owner can."""
    return next((owner for owner, causes in _OWNERS.items() if cause in causes), Owner.MACHINE)


class Group(Struct, frozen=True):
    """Rows that failed, or that nobody could decide on, for the same reason."""

    cause: str
    """Empty: the outcome says it all."""
    outcome: Outcome
    policy: str
    extension: str
    rows: int


class Overview(Struct, frozen=True):
    """The numbers of a whole fleet."""

    total: Part
    outcomes: Mapping[Outcome, int]
    subscriptions: Sequence[Part]
    policies: Sequence[Part]
    groups: Sequence[Group]
    """What needs a person, the most first."""
    waits: Mapping[str, int]
    """Open rows by what they wait for, the most first."""
    trend: Sequence[tuple[date, Share]]
    """By day (UTC), as the sweep counted them, the oldest first."""
    activity: Activity
    existing: Mapping[str, int]
    """Rows by policy that are only audited since their machine is older."""


def overview(counts: Sequence[SubscriptionCounts]) -> Overview:
    """Fold the counts of all subscriptions."""
    kinds: Counter[RowKind] = Counter()
    activity = Activity()
    for each in counts:
        kinds.update(each.kinds)
        if each.activity is not None:
            activity.merge(each.activity)
    times = [each.as_of for each in counts if each.as_of is not None]
    complete = all(each.complete for each in counts)
    outcomes = _counted(kinds, lambda kind: kind.outcome)
    named = {policy: {k: n for k, n in kinds.items() if k.policy == policy} for policy in {k.policy for k in kinds}}
    return Overview(
        Part.of("", kinds, min(times, default=None), complete),
        {outcome: outcomes[outcome] for outcome in Outcome if outcomes.get(outcome)},
        [Part.of(each.subscription, each.kinds, each.as_of, each.complete) for each in counts],
        [Part.of(policy, some) for policy, some in sorted(named.items())],
        groups_of(kinds),
        _counted({k: n for k, n in kinds.items() if not k.outcome.final}, lambda kind: kind.waiting_for),
        _trend(counts),
        activity,
        _counted({k: n for k, n in kinds.items() if _spared(k)}, lambda kind: kind.policy),
    )


def _spared(kind: RowKind) -> bool:
    return kind.outcome is Outcome.AUDITED and kind.cause == Cause.EXISTING_MACHINE


def groups_of(kinds: Mapping[RowKind, int]) -> list[Group]:
    """What needs a person, by cause, outcome, policy and extension, the most first."""
    found: Counter[tuple[str, Outcome, str, str]] = Counter()
    for kind, rows in kinds.items():
        if kind.outcome.needs_person:
            found[kind.cause, kind.outcome, kind.policy, kind.extension] += rows
    return [Group(*what, rows) for what, rows in sorted(found.items(), key=lambda each: (-each[1], each[0]))]


def _trend(counts: Iterable[SubscriptionCounts]) -> list[tuple[date, Share]]:
    """The share of each day. A subscription that was not counted on a day counts as on the day before."""
    by_day: dict[date, dict[str, Share]] = {}
    for each in counts:
        for totals in each.days:
            if totals.counts is not None:
                by_day.setdefault(totals.day, {})[each.subscription] = Share.of(totals.counts)
    known: dict[str, Share] = {}
    trend = []
    for day in sorted(by_day):
        known |= by_day[day]
        trend.append((day, sum(known.values(), Share())))
    return trend


def _counted[K](kinds: Mapping[RowKind, int], key: Callable[[RowKind], K]) -> dict[K, int]:
    """The number of rows by `key`, the most first."""
    found: Counter[K] = Counter()
    for kind, rows in kinds.items():
        found[key(kind)] += rows
    return dict(found.most_common())
