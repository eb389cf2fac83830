"""Compares what the inventory and the table say about one VM: must it be reconciled, and why?

Pure. An inventory lags by minutes, so a finding is a reason to reconcile and not a decision: the reconciliation reads
the VM and decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.machine.machine_facts import MachineFacts, OsType
from onboarding.domain.policy.installed_extension import instead, unmet
from onboarding.domain.policy.policy import Assignment, Policy
from onboarding.domain.policy_digest import same_version
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.reconcile.row_totals import RowKind

# The inventory may not have what happened this recently, and the event for it is still to come.
GRACE_PERIOD = timedelta(minutes=10)


class Reason(StrEnum):
    """Why a VM has to be reconciled."""

    MISSED = "missed"  # it lacks the extension that the policy wants, or has one to remove, and no row is about this VM
    # the row and the VM disagree: the extension is absent, unmet or back, lacks its identity, or others installed it
    DRIFTED = "drifted"
    FAILED = "failed"  # the extension is installed and failed, and the row does not say so
    GONE = "gone"  # there is a row, but no VM
    CHANGED = "changed"  # the row is final, and the policy that decided it has changed since
    ASSOCIATION = "association"  # the row says that all is done, and an association that the policy wants is missing
    RESUMED = "resumed"  # the row waits for a circuit breaker that has closed, or for a pause that has ended
    OUTDATED = "outdated"  # what we installed is to be updated, since the policy or the catalogue has changed
    HEARTBEAT = "heartbeat"  # the row's removal waits for a heartbeat of another agent, which has come


class RowSummary(Struct, frozen=True):
    """The part of a row that the comparison and the totals need."""

    extension: str  # the catalogue entry's name
    outcome: Outcome
    vm_id: str  # empty if the VM was never read
    extension_name: str  # of the extension resource; empty if there was none
    since: datetime | None  # when the row ended, or when its event happened if it is open (UTC)
    policy: str = ""
    policy_hash: str = ""  # empty in rows of the version before
    cause: str = ""  # of the failure; empty if nothing went wrong
    waiting_for: str = ""  # a `WaitingFor`, perhaps of a newer version; empty if the row is final
    sent_digest: str = ""  # of the public settings that the row is about; empty if unknown
    step: str = ""  # the step that the row is about; empty for the extension
    extension_version: str = ""  # of the handler, as the row has it
    update: str = ""  # the last update, as the row has it
    protected_digest: str = ""  # the keyed digest of the protected settings; empty if unknown

    @classmethod
    def of(cls, row: Row) -> RowSummary:
        return cls(
            row.extension,
            row.outcome,
            row.vm_id,
            row.extension_name,
            row.finished_at or row.event_time,
            row.policy,
            row.policy_hash,
            row.cause,
            row.waiting_for or "",
            row.sent_digest,
            row.step,
            row.extension_version,
            row.update,
            row.protected_digest,
        )

    @property
    def kind(self) -> RowKind:
        return RowKind(self.policy, self.extension, self.outcome, self.cause, self.waiting_for)

    def settled(self, before: datetime) -> bool:
        return self.since is None or self.since < before

    def decided_by_another(self, policy: Policy) -> bool:
        """Whether the row is final, and another policy or another version of this one decided it."""
        return self.outcome.final and not same_version(self.policy_hash, policy.digest)


class Finding(Struct, frozen=True):
    """Why a VM has to be reconciled, and the name of the policy that wants it."""

    reason: Reason
    policy: str


def find(
    facts: MachineFacts,
    assignments: Iterable[Assignment],
    catalogue: Mapping[str, CatalogueEntry],
    summaries: Iterable[RowSummary],
    before: datetime,
    stable: Callable[[Policy], bool] = lambda _: True,
    unassociated: Callable[[Policy], bool] = lambda _: False,
    unidentified: Callable[[Policy, RowSummary], bool] = lambda _, __: False,
    outdated: Callable[[Policy, RowSummary], bool] = lambda _, __: False,
) -> Finding | None:
    """The first reason to reconcile a VM that is in the inventory; None without one. What happened later than `before`
    is left to its event. Final rows of another version of a policy count only once the policy is `stable`.
    `unassociated` says whether the inventory lacks an association of the VM that the policy wants, `unidentified`
    whether the VM lacks an identity that serves the extension of a row, `outdated` whether that is to be updated."""
    if facts.time_created and facts.time_created > before:
        return None
    known = {summary.extension: summary for summary in summaries}
    for assignment in assignments:
        policy = assignment.policy
        if _is_open(assignment, known, before):
            return Finding(Reason.MISSED, policy.name)
        entry = catalogue.get(policy.extension)
        if entry is None:
            continue  # it is open which extension the machine gets
        summary = known.get(entry.name)
        if summary is not None and not summary.settled(before):
            continue
        reason = None
        if assignment.undecided:
            reason = _unclear(facts, entry, summary)
        elif not assignment.selected:
            there = _state(facts, policy, entry, summary, before) is not None
            reason = _unselected(policy, summary, stable, there=there)
        elif policy.removes and facts.os_type is entry.os_type:
            reason = _to_remove(facts, entry, summary, policy, stable)
        elif facts.os_type in (entry.os_type, OsType.UNKNOWN):
            state = _state(facts, policy, entry, summary, before)
            reason = _reason(facts, state, summary, policy, stable)
            if reason is None and summary is not None and _is_done(facts, summary, policy, stable):
                found = (
                    (unidentified(policy, summary), Reason.DRIFTED),
                    (unassociated(policy), Reason.ASSOCIATION),
                    (stable(policy) and outdated(policy, summary), Reason.OUTDATED),
                )
                reason = next((reason for holds, reason in found if holds), None)
        if reason:
            return Finding(reason, policy.name)
    return None


def _is_open(assignment: Assignment, known: Mapping[str, RowSummary], before: datetime) -> bool:
    """Whether a VM that the policy may want has no row although its operating system is unknown, or still has the row
    of an unknown one although it is known."""
    policy = assignment.policy
    if not policy.one_of or not (assignment.selected or assignment.undecided):
        return False
    row = known.get(policy.open_target)
    if policy.extension == policy.open_target:
        gone = row is not None and row.outcome is Outcome.GONE and row.settled(before)
        return gone or (row is None and not any(name in known for name in policy.extensions))
    return row is not None and row.settled(before)


def gone(summaries: Iterable[RowSummary], before: datetime) -> bool:
    """Whether a VM that is not in the inventory has to be reconciled, so that its rows end."""
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
    if state is ExtensionState.SUCCEEDED and _may_be_done_by_others(summary, policy):
        return Reason.DRIFTED  # perhaps under another name, for which no event comes
    if summary.outcome.present:
        return {None: Reason.DRIFTED, ExtensionState.FAILED: Reason.FAILED}.get(state)
    return None


def _to_remove(
    facts: MachineFacts,
    entry: CatalogueEntry,
    summary: RowSummary | None,
    policy: Policy,
    stable: Callable[[Policy], bool],
) -> Reason | None:
    """Why a VM has to be reconciled for a removal. Where there is nothing to remove, no row is needed."""
    there = facts.find_extension(entry.publisher, entry.type) is not None or _is_listed(facts, entry, summary)
    if summary is None or summary.outcome is Outcome.GONE:
        return Reason.MISSED if there else None
    if summary.vm_id not in ("", facts.vm_id):
        return Reason.MISSED  # the row tells of an earlier machine
    if not summary.outcome.final or (summary.decided_by_another(policy) and not stable(policy)):
        return None
    if not there:
        done = summary.outcome.present or summary.outcome in (Outcome.AUDITED, Outcome.FAILED)
        return Reason.DRIFTED if done else None
    if summary.outcome is Outcome.REMOVED:
        return Reason.DRIFTED
    if summary.outcome is Outcome.OUT_OF_SCOPE:
        return Reason.MISSED
    return Reason.CHANGED if summary.decided_by_another(policy) else None


def _is_listed(facts: MachineFacts, entry: CatalogueEntry, summary: RowSummary | None) -> bool:
    """Whether one of ARM's lists, which names extensions by id alone, shows the extension: by the name in the row, or
    by the names that it usually has."""
    known = {entry.resource_name.lower(), entry.type.lower()}
    if summary is not None and summary.extension_name:
        known = {summary.extension_name.lower()}
    return any(not extension.type and extension.name.lower() in known for extension in facts.extensions)


def _may_be_done_by_others(summary: RowSummary, policy: Policy) -> bool:
    """Whether the row ends as satisfied once somebody else repaired or installed the extension, also after a person has
    removed it. With `reconnect`, a VM may be audited that has it and reports elsewhere."""
    if summary.outcome is Outcome.REMOVED:
        return True
    audited = summary.outcome is Outcome.AUDITED and not policy.reconnect
    return not summary.step and (audited or summary.outcome is Outcome.FAILED)


def _is_done(facts: MachineFacts, summary: RowSummary, policy: Policy, stable: Callable[[Policy], bool]) -> bool:
    """Whether a row of this very VM says that everything is there, and may be opened again."""
    if not summary.outcome.present or summary.vm_id not in ("", facts.vm_id):
        return False
    return not summary.decided_by_another(policy) or stable(policy)


def _unclear(facts: MachineFacts, entry: CatalogueEntry, summary: RowSummary | None) -> Reason | None:
    """The inventory does not show whether the policy wants the VM: the reconciliation finds out, or its row says why it
    could not."""
    if facts.os_type is not entry.os_type:
        return None
    other = summary is None or summary.vm_id not in ("", facts.vm_id) or summary.outcome is Outcome.GONE
    return Reason.MISSED if other else None


def _unselected(
    policy: Policy, summary: RowSummary | None, stable: Callable[[Policy], bool], *, there: bool
) -> Reason | None:
    """A VM that the policy no longer selects needs a new row, unless the extension is installed: that stays, with its
    row. Of a policy that is not active, no event opens the row, so the sweep finds an extension that is gone."""
    if summary is None or summary.outcome in (Outcome.OUT_OF_SCOPE, Outcome.GONE):
        return None
    if summary.outcome.present:
        return Reason.DRIFTED if policy.inactive and not there and stable(policy) else None
    return Reason.CHANGED if summary.decided_by_another(policy) and stable(policy) else None


def _state(
    facts: MachineFacts, policy: Policy, entry: CatalogueEntry, summary: RowSummary | None, now: datetime
) -> ExtensionState | None:
    """The extension's state; None if it is not installed, or does not meet the policy. ARM's lists name extensions by
    id alone, without handler and state: there the name in the row identifies the extension, and one that the row says
    is installed is still there. They cannot show that a failed one was repaired."""
    found = facts.find_extension(entry.publisher, entry.type)
    if instead(policy, facts, found, now) is not None:
        return ExtensionState.SUCCEEDED
    if found is not None:
        state = read_extension_state(found)
        return None if state is ExtensionState.SUCCEEDED and unmet(policy, facts, found, now) else state
    named = summary is not None and summary.extension_name != "" and summary.outcome.present
    return ExtensionState.SUCCEEDED if named and _is_listed(facts, entry, summary) else None
