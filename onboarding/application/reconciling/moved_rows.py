"""Moves the row of a machine whose operating system was unknown to the extension that the machine gets."""

from __future__ import annotations

from collections.abc import Container
from copy import replace

from onboarding.application.ports import StoredRow
from onboarding.application.reconciling.reconciliation import Reconciliation
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.policy.policy import PolicySet


def with_moved_rows(
    work: Reconciliation, os_type: OsType, policies: PolicySet, ended: Container[str]
) -> Reconciliation:
    """The work as if each row of `policy:<name>` had been that of the extension for the machine's operating system, so
    that its episode goes on there. The next write of that extension's row deletes the other one in the same
    transaction. Where the extension has a row already, also one that another policy's was moved to, that row stays as
    it is; but a final one gives way to one that is open, which somebody waits for.

    Rows of targets in `ended` are not moved: they end where they are."""
    if os_type is OsType.UNKNOWN:
        return work
    targets = dict(work.stored)
    for policy in policies.policies:
        stored = targets.get(policy.open_target) if policy.open_target not in ended else None
        if stored is None:
            continue
        target = policy.for_system(os_type)[0].extension
        del targets[policy.open_target]
        there = targets.get(target)
        replaces = there.replaces if there else ()
        if there is None or (there.row.outcome.final and not stored.row.outcome.final):
            version = there.version if there else work.known.unreadable.get(target.lower(), "")
            there = StoredRow(replace(stored.row, extension=target), version, stored.rest)
        targets[target] = replace(there, replaces=(*replaces, stored))
    return replace(work, known=replace(work.known, targets=targets))
