"""Who changed what: the writes of ours to Azure, as the history has them, over the ledger's port.

The lines of one target follow each other in the table, so memory holds those of one target, and of the changes as many
as are to be shown: in the order of time, twice that number at the most.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from copy import replace
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from onboarding.application.ports import LedgerReader
from onboarding.application.row_queries import machines_named, stored_subscriptions
from onboarding.domain.reconcile.change import Answer, Change, HistoryLine, with_results
from onboarding.domain.reconcile.row import EVERYTHING, Selection
from onboarding.domain.reconcile.steps.step import StepKind


class ChangeOrder(StrEnum):
    """By what changes are sorted."""

    TIME = "time"  # the newest first, over all machines
    NAME = "name"  # as the table has them: by group, machine and target, the newest first within each


class ChangeQuery(Struct, frozen=True, kw_only=True):
    """Which changes to show; an empty field selects all. Names count in upper or lower case."""

    since: datetime
    """Only those that were sent at that time or later (UTC)."""
    selection: Selection = EVERYTHING
    policies: tuple[str, ...] = ()
    steps: tuple[StepKind, ...] = ()

    def matches(self, change: Change) -> bool:
        """Whether a change of the selection is one of the query. What was held back changed nothing."""
        if change.answer is Answer.NOT_SENT or (self.steps and change.step not in self.steps):
            return False
        return _is_one_of(change.policy, self.policies)


async def matching_changes(
    ledger: LedgerReader, query: ChangeQuery, progress: Callable[[int], None] = lambda lines: None
) -> AsyncIterator[Change]:
    """The changes of the query with what each came to, in the order of names. `progress` gets the number of lines that
    were read since it was called last. Raises StorageError."""
    async for selection in _selections(ledger, query.selection):
        changes: list[Change] = []
        lines: list[HistoryLine] = []
        target = ("", "")
        async for line in ledger.changes(selection.subscription, selection, query.since):
            if (now := (line.resource_id.lower(), line.extension.lower())) != target:
                progress(len(changes) + len(lines))
                for change in _found(query, changes, lines):
                    yield change
                changes, lines, target = [], [], now
            if isinstance(line, Change):
                changes.append(line)
            else:
                lines.append(line)
        progress(len(changes) + len(lines))
        for change in _found(query, changes, lines):
            yield change


async def newest(changes: AsyncIterator[Change], limit: int) -> tuple[list[Change], int]:
    """The newest changes, the newest first, and the number of all. Raises as the iterator."""
    best: list[Change] = []
    total = 0
    async for change in changes:
        total += 1
        best.append(change)
        if len(best) > 2 * limit:
            best = _by_time(best)[:limit]
    return _by_time(best)[:limit], total


def _found(query: ChangeQuery, changes: list[Change], lines: list[HistoryLine]) -> list[Change]:
    return [change for change in _by_time(with_results(changes, lines)) if query.matches(change)]


def _by_time(changes: list[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: change.sent_at, reverse=True)


async def _selections(ledger: LedgerReader, selection: Selection) -> AsyncIterator[Selection]:
    """The ranges of the history to read, each in one subscription. A name without its group is looked for among the
    current rows: their number is smaller."""
    if selection.vm_name and not selection.resource_group:
        found = await machines_named(ledger, [selection.vm_name], subscription=selection.subscription)
        for vm in found[selection.vm_name]:
            yield Selection(subscription=vm.subscription, resource_group=vm.resource_group, vm_name=vm.name)
    elif selection.subscription:
        yield selection
    else:
        async for subscription in stored_subscriptions(ledger):
            yield replace(selection, subscription=subscription)


def _is_one_of(name: str, wanted: Collection[str]) -> bool:
    return not wanted or any(name.lower() == each.lower() for each in wanted)
