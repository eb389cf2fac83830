"""The product's queue trigger: one message after the other, each the reconcile request of a sweep for a new VM."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from bench.implementations.product import load_product
from bench.load import RunEvent
from bench.workload import vm_name, vm_path
from simulator.host.messages import TypedData


async def prepare(run: str, events: int) -> tuple[RunEvent, Callable[[], Awaitable[None]]]:
    worker = await load_product()
    function = worker.functions["on_deferral"]

    async def run_event(number: int) -> None:
        message = {"vm": vm_path(vm_name(run, number)), "reason": "missed", "due": datetime.now(UTC).isoformat()}
        data = TypedData(string=json.dumps(message))
        metadata = {"QueueTrigger": data, "DequeueCount": TypedData(json="1"), "Id": TypedData(json='""')}
        result = await worker.run(function, str(uuid.uuid4()), data, metadata)
        if not result.succeeded:
            raise RuntimeError(result.message)

    async def close() -> None:
        return

    return run_event, close
