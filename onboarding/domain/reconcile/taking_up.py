"""Which machines a policy may act on: new ones, and those that somebody has taken up.

A policy that spares existing machines (`existing: audit`) writes nothing to a machine that is older than the policy,
until a person or a request of ours has taken the machine up. The column `TakenUp` of each row says when that was and by
whom. Rows of a version that did not know the column lack it; rows of this version always have it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from onboarding.domain.machine.machine_facts import NEW_FOR, MachineFacts
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.row import Outcome, Row

NOT_TAKEN_UP = "no"
"""The column of a machine that nobody has taken up."""


class TakenUpBy(StrEnum):
    """Who has taken a machine up."""

    PERSON = "person"  # by a command for this machine
    REQUEST = "request"  # we sent one, since the machine was new
    VERSION_BEFORE = "version-before"  # which knew no existing machines


class ExistingMachine(Struct, frozen=True):
    """Why a policy only audits a machine: it is older than the policy, and nobody has taken it up."""

    first_seen: datetime
    """When the policy was first seen to select as it does (UTC)."""
    created: datetime | None
    """When the machine was created (UTC); None: ARM does not say, so it may be older."""


def is_taken_up(last: Row | None) -> bool:
    """Whether a person or a request of ours has taken the machine up, as its row says. None: it has no row."""
    if last is None:
        return False
    if not last.taken_up:  # of the version before, which treated all machines as new
        return last.outcome is not Outcome.OUT_OF_SCOPE
    return last.taken_up != NOT_TAKEN_UP or _was_requested(last)


def taken_up(last: Row | None, now: datetime, by: TakenUpBy | None = None) -> str:
    """The column of the next row: it stays once it is set. `by` is who takes the machine up now; None: nobody does."""
    if last is not None and last.taken_up not in ("", NOT_TAKEN_UP):
        return last.taken_up
    if is_taken_up(last):
        by = TakenUpBy.REQUEST if last is not None and last.taken_up else TakenUpBy.VERSION_BEFORE
    return f"{now.isoformat(timespec='seconds')} {by}" if by is not None else NOT_TAKEN_UP


def depends_on_first_seen(policy: Policy, facts: MachineFacts, last: Row | None, now: datetime) -> bool:
    """Whether the policy may act on the machine only if it was first seen early enough. A machine that was created
    within the last hour is new, whenever that was."""
    if not policy.spares_existing or is_taken_up(last):
        return False
    return facts.time_created is None or now - facts.time_created > NEW_FOR


def existing_machine(facts: MachineFacts, first_seen: datetime) -> ExistingMachine | None:
    """Why the policy only audits a machine whose decision depends on `first_seen`; None if the machine is new."""
    created = facts.time_created
    is_older = created is None or first_seen - created > NEW_FOR
    return ExistingMachine(first_seen, created) if is_older else None


def _was_requested(last: Row) -> bool:
    """Whether a request was sent although the column says that nobody has: by a worker of the version before, which
    keeps the column as it is."""
    return last.attempt > 0 or last.requested_at is not None or last.outcome is Outcome.INSTALLED
