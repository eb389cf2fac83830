"""Rows and triggers for the tests of the table, the queue and the topic."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from onboarding.application.notifications import EventRef
from onboarding.application.ports import Ledger, RowWrite, StoredRow
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId, parse_id

TIME = datetime(2026, 11, 20, 9, 14, 7, 331820, tzinfo=UTC)
OMS = "oms-agent-linux"


def new_vm(name: str = "Web-01", group: str = "Shop-Prod") -> VmId:
    """A VM in a subscription of its own."""
    return VmId(str(uuid.uuid4()), group, name)


def row_of(vm: VmId, **changes: Any) -> Row:
    """A waiting row of that VM."""
    usual: dict[str, Any] = {
        "resource_id": str(vm),
        "vm_name": vm.name,
        "resource_group": vm.resource_group,
        "extension": OMS,
        "outcome": Outcome.WAITING,
        "reason": "the VM is not running",
        "waiting_for": WaitingFor.VM_RUNNING,
        "waiting_since": TIME,
        "next_attempt_at": TIME + timedelta(hours=1),
    }
    return Row(**usual | changes)


def final(vm: VmId, outcome: Outcome = Outcome.INSTALLED, **changes: Any) -> Row:
    done: dict[str, Any] = {"waiting_for": None, "waiting_since": None, "next_attempt_at": None}
    return row_of(vm, **done | {"outcome": outcome, "finished_at": TIME + timedelta(minutes=2)} | changes)


def trigger(identity: str = "event-1", time: datetime = TIME) -> EventRef:
    return EventRef(identity, time, "correlation-1")


async def write(
    ledger: Ledger,
    row: Row,
    trigger: EventRef,
    version: str | None,
    *,
    again: bool = False,
    history: bool = True,
    check: datetime | None = None,
) -> str:
    """Write one row over the version that was read, as a pass over its VM does; returns the new version. `check` is the
    machine's scheduled check."""
    vm = parse_id(row.resource_id)
    assert isinstance(vm, VmId)
    own = (await ledger.read(vm)).machine
    machine, entry = MachineRow(resource_id=str(vm), next_attempt_at=check), RowWrite(row, version, history)
    written = await ledger.commit(machine, own.version if own else None, [entry], trigger, again=again)
    return written.targets[row.extension]


async def create(ledger: Ledger, row: Row, trigger: EventRef) -> None:
    """Write the first row of a VM, without reading its rows before."""
    await ledger.commit(MachineRow(resource_id=row.resource_id), None, [RowWrite(row)], trigger)


async def claim(ledger: Ledger, row: Row, version: str | None) -> str:
    return await write(ledger, row, trigger("claimed"), version, history=False)


async def rows(ledger: Ledger, vm: VmId) -> Mapping[str, StoredRow]:
    return (await ledger.read(vm)).targets


async def listed[T](found: AsyncIterator[T]) -> list[T]:
    return [each async for each in found]


async def write_fleet(ledger: Ledger) -> tuple[VmId, ...]:
    """Three VMs, two of them with the same name, and an outcome for each."""
    first = new_vm("web", "prod")
    vms = (first, replace(first, resource_group="test"), VmId(new_vm().subscription, "prod", "db"))
    outcomes = (Outcome.INSTALLED, Outcome.FAILED, Outcome.UNSUPPORTED)
    for vm, outcome in zip(vms, outcomes, strict=True):
        await write(ledger, final(vm, outcome), trigger(), None)
    return vms
