"""How many rows of a subscription say the same, as the sweep counts them once an hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple

from msgspec import Struct

from onboarding.domain.reconcile.row import Outcome


class RowKind(NamedTuple):
    """What rows that are counted together have in common."""

    policy: str  # the name of the policy that decided; empty if none did
    extension: str
    outcome: Outcome
    cause: str  # of the failure; empty if nothing went wrong
    waiting_for: str  # empty if the outcome is final


class Totals(Struct, frozen=True):
    """The numbers of a subscription's rows at the last count of one day."""

    subscription: str
    at: datetime  # when they were counted (UTC); the day of the totals is its date
    counts: Mapping[RowKind, int] | None  # None: there are too many kinds of rows to keep their numbers
    indexed_at: datetime | None = None  # when the index rows of the subscription were written last (UTC); None: unknown

    @property
    def day(self) -> date:
        return self.at.date()
