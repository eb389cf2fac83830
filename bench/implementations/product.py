"""The product: `function_app.py` under the real worker library, called with one event after the other."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path

from bench.load import RunEvent
from bench.workload import created_event, following_events, vm_name
from simulator.host.messages import TypedData
from simulator.host.worker import Worker, load

_ROOT = Path(__file__).resolve().parents[2]
_FUNCTION = "on_resource_event"


class _Nowhere(logging.StreamHandler[StringIO]):
    """Formats log lines, as for the host's pipe, and drops them."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


async def load_product() -> Worker:
    """Load the app, with its log lines formatted as for a host that reads them."""
    worker = await load(_ROOT)
    handler = _Nowhere(StringIO())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    return worker


def event_function(worker: Worker) -> Callable[[str], Awaitable[None]]:
    """The function that delivers one event."""
    function = worker.functions[_FUNCTION]

    async def deliver(event: str) -> None:
        data = TypedData(json=event)
        result = await worker.run(function, str(uuid.uuid4()), data, {"data": data})
        if not result.succeeded:
            raise RuntimeError(result.message)

    return deliver


async def prepare(run: str, events: int) -> tuple[RunEvent, Callable[[], Awaitable[None]]]:
    deliver = event_function(await load_product())
    # Made before the measurement: in Azure, too, the worker does not make its events.
    made = [created_event(vm_name(run, number)) for number in range(events)]

    async def run_event(number: int) -> None:
        await deliver(made[number])
        for event in following_events(run, vm_name(run, number)):
            await deliver(event)

    async def close() -> None:
        return

    return run_event, close
