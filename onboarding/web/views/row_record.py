"""A row as lists show it."""

from __future__ import annotations

from onboarding.domain.json_access import stamp
from onboarding.domain.reconcile.row import Row
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.web.site import Data

COLUMNS = (
    "subscription",
    "resourceGroup",
    "name",
    "extension",
    "policy",
    "outcome",
    "waitingFor",
    "nextCheck",
    "cause",
    "errorCode",
    "reason",
    "advice",
    "os",
    "image",
    "since",
    "correlationId",
    "id",
)
"""What a list shows of a row, in the order of the columns of its CSV."""


def row_record(row: Row) -> Data:
    """What a list shows of a row."""
    vm = parse_id(row.resource_id)
    return {
        "subscription": vm.subscription if isinstance(vm, VmId) else "",
        "resourceGroup": row.resource_group,
        "name": row.vm_name,
        "extension": row.extension,
        "policy": row.policy,
        "outcome": row.outcome.value,
        "waitingFor": row.waiting_for.value if row.waiting_for else "",
        "nextCheck": stamp(row.next_attempt_at),
        "cause": row.cause,
        "errorCode": row.error_code,
        "reason": row.reason,
        "advice": row.advice,
        "os": " ".join(filter(None, (row.distribution, row.os_version))),
        "image": image_of(row),
        "since": stamp(row.finished_at or row.waiting_since or row.event_time),
        "correlationId": row.correlation_id,
        "id": row.resource_id,
    }


def image_of(row: Row) -> str:
    """The image as `publisher:offer:sku`, else its id."""
    parts = (row.image_publisher, row.image_offer, row.image_sku)
    return ":".join(parts) if any(parts) else row.image_id
