"""What an inventory and the table say of one VM, compared: does it have to be visited, and why?

Pure, and cautious in one direction only: an inventory lags by minutes, so a reason to visit is no decision. The visit
reads the VM and decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.installed_extension import instead, unmet
from onboarding.domain.policy.policy import Assignment, Policy
from onboarding.domain.reconcile.row import Outcome, Row

# What happened this short ago may not be in the inventory yet, and an event is about to tell of it.
GRACE_PERIOD = timedelta(minutes=10)


class Reason(StrEnum):
    """Why a VM has to be visited."""

    MISSED = "missed"  # it lacks the extension as the policy wants it, and no row speaks of this VM
    DRIFTED = "drifted"  # the row says that the extension is there, and it is not, or not as the policy wants it
    FAILED = "failed"  # the extension is there and failed, and the row does not say so
    GONE = "gone"  # there is a row and no VM
    CHANGED = "changed"  # the row is final, and the policy that it came from has changed since


class RowSummary(Struct, frozen=True):
    """What the table says of one VM and one extension, as short as a comparison needs it."""

    extension: str
    outcome: Outcome
    vm_id: str
    extension_name: str
    since: datetime | None
    policy: str = ""
    policy_hash: str = ""  # empty in rows of the version before

    @classmethod
    def of(cls, row: Row) -> RowSummary:
        since = row.finished_at or row.event_time
        return cls(row.extension, row.outcome, row.vm_id, row.extension_name, since, row.policy, row.policy_hash)

    def settled(self, before: datetime) -> bool:
        return self.since is None or self.since < before

    def decided_by_another(self, policy: Policy) -> bool:
        """Whether the row is final, and came from a policy that is not this one as it is now."""
        return self.outcome.final and self.policy_hash not in ("", policy.digest)


class Finding(Struct, frozen=True):
    reason: Reason
    policy: str


def find(
    facts: MachineFacts,
    assignments: Iterable[Assignment],
    catalogue: Mapping[str, CatalogueEntry],
    summaries: Iterable[RowSummary],
    before: datetime,
    stable: Callable[[Policy], bool] = lambda _: True,
) -> Finding | None:
    """The first reason to visit a VM that is in the inventory, if there is one. What happened later than `before` is
    left to its event. A policy that is not `stable` yet leaves final rows of another version of it alone."""
    if facts.time_created and facts.time_created > before:
        return None
    known = {summary.extension: summary for summary in summaries}
    for assignment in assignments:
        policy = assignment.policy
        entry = catalogue[policy.extension]
        summary = known.get(entry.name)
        if summary is not None and not summary.settled(before):
            continue
        reason = None
        if assignment.undecided:
            reason = _unclear(facts, entry, summary)
        elif not assignment.selected:
            reason = _left_out(policy, summary, stable)
        elif facts.os_type is entry.os_type:
            state = _state(facts, policy, entry, summary, before)
            reason = _reason(facts, state, summary, policy, stable)
        if reason:
            return Finding(reason, policy.name)
    return None


def gone(summaries: Iterable[RowSummary], before: datetime) -> bool:
    """Whether the rows of a VM that is not in the inventory have to be looked at."""
    listed = list(summaries)
    return all(each.settled(before) for each in listed) and any(each.outcome is not Outcome.GONE for each in listed)


def _reason(
    facts: MachineFacts,
    state: ExtensionState | None,
    summary: RowSummary | None,
    policy: Policy,
    stable: Callable[[Policy], bool],
) -> Reason | None:
    if summary is None:
        return {None: Reason.MISSED, ExtensionState.FAILED: Reason.FAILED}.get(state)
    if summary.vm_id not in ("", facts.vm_id) or summary.outcome is Outcome.GONE:
        return Reason.MISSED
    if summary.decided_by_another(policy):
        if not stable(policy):
            return None
        if not summary.outcome.present:
            return Reason.CHANGED
    if summary.outcome is Outcome.OUT_OF_SCOPE:
        return Reason.MISSED
    if summary.outcome is Outcome.FAILED and state is ExtensionState.SUCCEEDED:
        return Reason.DRIFTED  # somebody made it work, perhaps under another name, of which no event speaks
    if summary.outcome.present:
        return {None: Reason.DRIFTED, ExtensionState.FAILED: Reason.FAILED}.get(state)
    return None


def _unclear(facts: MachineFacts, entry: CatalogueEntry, summary: RowSummary | None) -> Reason | None:
    """Nobody can tell from here whether the policy wants the VM: the visit finds out, or says in a row why not."""
    if facts.os_type is not entry.os_type:
        return None
    other = summary is None or summary.vm_id not in ("", facts.vm_id) or summary.outcome is Outcome.GONE
    return Reason.MISSED if other else None


def _left_out(policy: Policy, summary: RowSummary | None, stable: Callable[[Policy], bool]) -> Reason | None:
    """A VM that the policy does not want any more: what its row says of it is to be said anew. What is on the VM
    stays there, and so does its row."""
    if summary is None or summary.outcome.present or summary.outcome in (Outcome.OUT_OF_SCOPE, Outcome.GONE):
        return None
    return Reason.CHANGED if summary.decided_by_another(policy) and stable(policy) else None


def _state(
    facts: MachineFacts, policy: Policy, entry: CatalogueEntry, summary: RowSummary | None, now: datetime
) -> ExtensionState | None:
    """How the extension stands; None if it is not there, or not as the policy wants it. ARM's lists name extensions by
    id alone: there the name that the row knows has to do."""
    found = facts.find_extension(entry.publisher, entry.type)
    if instead(policy, facts, found, now) is not None:
        return ExtensionState.SUCCEEDED
    if found is not None:
        state = read_extension_state(found)
        return None if state is ExtensionState.SUCCEEDED and unmet(policy, facts, found, now) else state
    name = summary.extension_name.lower() if summary else ""
    listed = any(not extension.type and extension.name.lower() == name for extension in facts.extensions)
    return ExtensionState.SUCCEEDED if listed else None
