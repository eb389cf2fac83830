"""One machine's story: what it has and lacks, what happened in which order and why, and what would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from onboarding.application.change_queries import ChangeQuery, matching_changes
from onboarding.application.operator_requests import Preview, described
from onboarding.application.reports.explanation import explain
from onboarding.application.reports.fleet_views import owner_of
from onboarding.domain.errors import ArmError
from onboarding.domain.json_access import stamp
from onboarding.domain.masking import mask
from onboarding.domain.reconcile.change import Change
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, Row, Selection
from onboarding.domain.reconcile.row_totals import EVENT, opened_by
from onboarding.domain.reconcile.steps.step import from_column
from onboarding.domain.resource_id import VmId
from onboarding.settings import HISTORY_DAYS
from onboarding.web.site import Data, NotFound, Site, vm_of
from onboarding.web.views.row_record import row_record

MOST_LINES = 400  # of history, the newest within each extension


async def data(site: Site) -> Data:
    vm = vm_of(site.query.one("id"))
    known = await site.ports.ledger.read(vm)
    lines, more = await _lines(site, vm)
    if not known.targets and not lines:
        raise NotFound("the table has no row of this machine: no event of it arrived, or no policy is about it")
    rows = sorted((stored.row for stored in known.targets.values()), key=_urgency)
    changes = await _changes(site, vm)
    own = known.machine.row if known.machine else None
    return {
        "id": str(vm),
        "subscription": vm.subscription,
        "resourceGroup": vm.resource_group,
        "name": vm.name,
        "vmId": own.vm_id if own else "",
        "lastRead": stamp(own.last_read_at) if own else "",
        "nextCheck": stamp(own.next_attempt_at) if own else "",
        "location": next((row.location for row in rows if row.location), ""),
        "rows": [_row(row) for row in rows],
        "story": sorted([*map(_line, lines), *map(_change, changes)], key=lambda each: str(each["time"])),
        "more": more,
        "exemption": exemption_lines(vm),
        "decision": await _decision(site, vm) if site.query.one("explain") else None,
    }


def exemption_lines(vm: VmId) -> str:
    """What exempts a machine, to be copied into a policy's file."""
    return (
        f"exemptions:\n  - scope: {vm}\n    category: Waiver        # or Mitigated\n"
        "    expiresOn: 2027-01-31   # the day on which it ends; leave it out for good\n    reason: why"
    )


def _urgency(row: Row) -> tuple[int, str]:
    """What a person should see first: what failed, then what is under way, and at last what is about nothing."""
    outside = row.outcome in (Outcome.OUT_OF_SCOPE, Outcome.GONE)
    return (0 if row.outcome.needs_person else 1 if not row.outcome.final else 3 if outside else 2), row.extension


def _row(row: Row) -> Data:
    return {
        **row_record(row),
        "errorMeaning": row.error_meaning,
        "message": row.message,
        "who": owner_of(row.cause).value if row.cause else "",
        "final": row.outcome.final,
        "needsPerson": row.outcome.needs_person,
        "present": row.outcome.present,
        "waitingSince": stamp(row.waiting_since),
        "finishedAt": stamp(row.finished_at),
        "seconds": None if row.duration_ms is None else round(row.duration_ms / 1000, 1),
        "attempt": row.attempt,
        "effect": row.effect,
        "extensionName": row.extension_name,
        "extensionVersion": row.extension_version,
        "verdict": row.verdict,
        "osSource": row.witness,
        "architecture": row.architecture,
        "clientRequestId": row.client_request_id,
        "takenUp": row.taken_up,
        "by": row.by,
        "steps": [
            {"step": step.step.value, "state": step.state.value, "subject": step.subject}
            for step in from_column(row.steps)
        ],
    }


def _line(row: Row) -> Data:
    """A line of history."""
    return {
        **row_record(row),
        "kind": "outcome",
        "time": stamp(row.event_time),
        "source": source_of(row.event_id),
        "eventId": row.event_id,
        "step": row.step,
        "attempt": row.attempt,
        "by": row.by,
    }


def _change(change: Change) -> Data:
    """A write to Azure."""
    return {
        "kind": "request",
        "time": stamp(change.sent_at),
        "source": source_of(change.event_id),
        "eventId": change.event_id,
        "extension": change.extension,
        "step": change.step,
        "subject": change.subject,
        "attempt": change.attempt,
        "policy": change.policy,
        "answer": change.answer.value,
        "result": change.result,
        "errorCode": change.error_code or change.result_code,
        "message": change.message,
        "reason": change.reason,
        "clientRequestId": change.client_request_id,
        "correlationId": change.correlation_id,
        "by": change.by,
    }


def source_of(event_id: str) -> str:
    """What was the reason of a pass, in words."""
    by = opened_by(event_id)
    if by == EVENT:
        return "event"
    kind, _, reason = by.partition(".")
    words = {"look": "scheduled check", "request": "a person", "sweep": "sweep"}[kind]
    return f"{words}: {'check now' if reason == 'look' else reason}" if reason else words


async def _lines(site: Site, vm: VmId) -> tuple[Sequence[Row], bool]:
    """The lines of history, and whether there are more."""
    lines: list[Row] = []
    async for line in site.reader.history(vm):
        if len(lines) == MOST_LINES:
            return lines, True
        lines.append(line)
    return lines, False


async def _changes(site: Site, vm: VmId) -> Sequence[Change]:
    selection = Selection(subscription=vm.subscription, resource_group=vm.resource_group, vm_name=vm.name)
    query = ChangeQuery(since=site.now - timedelta(days=HISTORY_DAYS), selection=selection)
    found: list[Change] = []
    async for change in matching_changes(site.reader, query):
        found.append(change)
        if len(found) == MOST_LINES:
            break
    return found


async def _decision(site: Site, vm: VmId) -> Data:
    """What the policies decide on the machine as ARM shows it now, with their conditions."""
    try:
        previews = await site.application.requests.preview(vm, OperatorRequest())
    except ArmError as error:
        return {"problem": mask(f"ARM said {error}"), "targets": [], "policies": []}
    policies: Sequence[Mapping[str, Any]] = ()
    if previews:
        policies = explain(site.rules, previews[0].context.facts, site.now).as_dict()["policies"]
    return {"problem": "", "targets": [preview_record(each) for each in previews], "policies": list(policies)}


def preview_record(preview: Preview) -> Data:
    """What would be done for one extension."""
    would, because = described(preview)
    return {
        "extension": preview.context.entry.name,
        "policy": preview.context.assignment.policy.name,
        "would": would,
        "because": because,
        "steps": [step.as_dict() for step in preview.steps],
    }
