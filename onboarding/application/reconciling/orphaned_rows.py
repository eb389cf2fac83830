"""Ends open rows of extensions that no policy wants on the machine any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import replace

from onboarding.application.reconciling.reconciliation import Reconciliation
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.machine.machine_facts import InstalledExtension, MachineFacts
from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.reconcile.decision import RetryState
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import closed, waiting
from onboarding.domain.reconcile.steps.sent_steps import SENT_STEPS
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.reconcile.wait_schedule import Waits


def orphaned_rows(
    work: Reconciliation, policies: PolicySet, wanted: Sequence[Policy], unusable: Mapping[str, str]
) -> list[tuple[Row, Row]]:
    """The open rows of extensions that no policy wants on this VM any more, each with the row that replaces it.

    If the extension's file cannot be used, the row waits until the file is fixed. Other rows end as out of scope."""
    names = {policy.extension for policy in wanted}
    found = []
    for stored in work.stored.values():
        row = stored.row
        if row.outcome.final or row.extension in names or row.extension in work.settled:
            continue
        policy = next((p for p in policies.policies if row.extension in (*p.extensions, p.open_target)), None)
        if policy is None and (why := unusable.get(row.extension)):
            retry = RetryState(row, Waits(), work.now, checks=work.checks)
            found.append((row, waiting(row, retry.wait_on(WaitingFor.CONFIGURATION, why))))
            continue
        reason = (
            f"no policy names {row.extension} any more (a file that cannot be read is named at /api/health/details)"
        )
        if policy is not None:
            reason = policy.off or f"outside the scope of policy {policy.name}"
        ended = closed(row, Outcome.OUT_OF_SCOPE, reason, work.now)
        if policy is not None and policy.inactive and row.policy == policy.name:
            ended = replace(ended, policy_hash=policy.digest)  # a host with other settings leaves it as it is
        found.append((row, ended))
    return found


def end_after_read(row: Row, ended: Row, facts: MachineFacts, work: Reconciliation) -> Row:
    """The row that replaces an orphaned row, after the machine was read.

    If our request for the extension is still in flight, its result decides; else the row ends as `ended`."""
    name = row.extension_name.lower()
    extension = next((e for e in facts.extensions if e.name.lower() == name), None)
    if not row.in_flight or row.vm_id not in ("", facts.vm_id):
        return ended
    if row.waiting_for is WaitingFor.CLAIM and row.next_attempt_at and row.next_attempt_at > work.now:
        return row  # the claim is not over yet, so the request may still be sent
    if row.step == StepKind.REMOVAL:
        return _end_removal(row, ended, extension, work)
    if extension is None:
        return ended
    match read_extension_state(extension):
        case ExtensionState.SUCCEEDED if row.has_sent(extension.settings):
            version = extension.handler_version or extension.version
            return closed(row, Outcome.INSTALLED, "the handler reports success", work.now, version)
        case ExtensionState.IN_PROGRESS:
            return end_unread(row, ended, work)
        case _:
            return ended


def _end_removal(row: Row, ended: Row, extension: InstalledExtension | None, work: Reconciliation) -> Row:
    if extension is None:
        return closed(row, Outcome.REMOVED, "ARM shows the extension no more", work.now)
    return end_unread(row, ended, work) if read_extension_state(extension) is ExtensionState.IN_PROGRESS else ended


def end_unread(row: Row, ended: Row, work: Reconciliation) -> Row:
    """The row that replaces an orphaned row if the machine was not read: a request in flight is waited for as usual."""
    kind = SENT_STEPS[StepKind.REMOVAL if row.step == StepKind.REMOVAL else StepKind.EXTENSION].ACCEPTED
    later = RetryState(row, Waits(), work.now).wait(kind, row.reason) if row.in_flight else None
    if later is None:
        return ended
    return replace(
        row,
        waiting_for=later.waiting_for,
        waiting_since=later.since,
        next_attempt_at=later.until,
        outcome=Outcome.REQUESTED,
    )
