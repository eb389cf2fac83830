"""Rows and triggers for the tests of the table, the queue and the topic."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from onboarding.core.outcome import Outcome, Row, WaitingFor
from onboarding.core.resource_id import VmId
from onboarding.events import Trigger

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


def trigger(identity: str = "event-1", time: datetime = TIME) -> Trigger:
    return Trigger(identity, time, "correlation-1")


async def listed(rows: AsyncIterator[Row]) -> list[Row]:
    return [row async for row in rows]
