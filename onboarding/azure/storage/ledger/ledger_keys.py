"""The keys of the ledger's entities. The partition is the subscription; all keys are in lower case."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from onboarding.application.notifications import EventRef
from onboarding.domain.reconcile.change import Change
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.resource_id import VmId, parse_id

END_OF_TIME_MS = 9_999_999_999_999
"""The key of a line of history holds the time until then, so that the newest comes first."""

CURRENT, HISTORY = "vm|", "log|"
DUE, ATTENTION = "due|", "attention|"
TOTALS = "totals|"
UNPUBLISHED = "unpublished|"
UNPUBLISHED_BEFORE = "untold|"
"""The outbox of the version before. It lies directly after `UNPUBLISHED`, so that one range holds both."""


def vm_of(row: Row) -> VmId:
    return vm_id(row.resource_id)


def vm_id(resource_id: str) -> VmId:
    vm = parse_id(resource_id)
    if not isinstance(vm, VmId):
        raise ValueError(f"{resource_id!r} is not the id of a VM")
    return vm


def partition_of(vm: VmId) -> str:
    return vm.subscription.lower()


def row_prefix(vm: VmId) -> str:
    """What the keys of the machine's current rows begin with."""
    return f"{CURRENT}{vm.resource_group}|{vm.name}|".lower()


def history_prefix(vm: VmId) -> str:
    return f"{HISTORY}{vm.resource_group}|{vm.name}|".lower()


def target_keys(vm: VmId, extension: str) -> dict[str, str]:
    """The keys of a current row; without `extension`, of the machine's own row."""
    return {"PartitionKey": partition_of(vm), "RowKey": row_prefix(vm) + extension.lower()}


def history_keys(row: Row, trigger: EventRef) -> dict[str, str]:
    """The keys of a line of history. They sort the newest first within an extension."""
    return _history_keys(vm_of(row), row.extension, trigger.time, trigger.id)


def change_keys(change: Change) -> dict[str, str]:
    """The keys of the line of history of a change: those of its pass, with the name of the change."""
    return _history_keys(vm_id(change.resource_id), change.extension, change.event_time, change.event_id, change.name)


def _history_keys(vm: VmId, extension: str, time: datetime, *names: str) -> dict[str, str]:
    inverted = max(0, END_OF_TIME_MS - int(time.timestamp() * 1000))
    key = "|".join([f"{history_prefix(vm)}{extension}", f"{inverted:013d}", *names])
    return {"PartitionKey": partition_of(vm), "RowKey": key.lower()}


def outbox_keys(row: Row, prefix: str = UNPUBLISHED) -> dict[str, str]:
    """The keys of an unpublished outcome; the same outcome written twice has the same keys."""
    vm = vm_of(row)
    moment = f"{row.finished_at:%Y%m%dt%H%M%S%f}" if row.finished_at else ""
    key = f"{prefix}{vm.resource_group}|{vm.name}|{row.extension}|{moment}"
    return {"PartitionKey": partition_of(vm), "RowKey": key.lower()}


def due_key(row_key: str, due: datetime) -> str:
    """The key of the index row that leads to a current row whose check is due at that time."""
    return f"{DUE}{bucket(due)}|{row_key}"


def index_key(row_key: str, outcome: Outcome, next_attempt_at: datetime | None) -> str:
    """The key of the one index row that may lead to the row of a target with this key and state; empty: none does."""
    if outcome.final:
        return f"{ATTENTION}{row_key}" if outcome.needs_person else ""
    return due_key(row_key, next_attempt_at) if next_attempt_at else ""


def indexed_key(index_row_key: str) -> str:
    """The key of the current row to which an index row leads; empty for one of another version."""
    kind, _, rest = index_row_key.partition("|")
    if f"{kind}|" == ATTENTION:
        return rest if target_in(rest) else ""
    key = rest.partition("|")[2]
    return key if is_current(key) else ""


def bucket(time: datetime) -> str:
    """The minute of a time, so that keys sort by it. A wait that begins anew within its minute keeps its index row."""
    return f"{time.astimezone(UTC):%Y%m%dt%H%M}"


def is_current(row_key: str) -> bool:
    """Whether the key is that of a current row: of a machine's own row, or of one of its targets."""
    return row_key.startswith(CURRENT) and row_key.count("|") == 3


def machine_key(row_key: str) -> str:
    """The key of the own row of the machine that a current row belongs to."""
    return f"{row_key.rpartition('|')[0]}|"


def target_in(row_key: str) -> str:
    """The extension in the key of a target's row, lower case; empty for any other key."""
    return row_key.rpartition("|")[2] if is_current(row_key) else ""


def target_of(entity: Mapping[str, Any]) -> str:
    """`target_in` of an entity's key."""
    return target_in(str(entity.get("RowKey", "")))
