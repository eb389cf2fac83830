"""`python -m bench.programs.sweep --what sweep|reading`: one sweep over the fleet, or only its reading.

After the sweep, some of the messages that it sent are handled, to count their calls to ARM. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import time
from copy import replace
from datetime import datetime
from typing import Any

from bench.parts import BenchFailed
from bench.programs.reading import read_graph, read_table
from onboarding.app import assemble, open_ports, read_configuration
from onboarding.application.ports import Message, ScheduleQueue
from onboarding.azure.storage.ledger.row_entities import SUMMARY_COLUMNS


class RecordedQueue:
    """Implements `ports.ScheduleQueue`: passes messages on to the queue and records them."""

    def __init__(self, queue: ScheduleQueue) -> None:
        self._queue = queue
        self.messages: list[Message] = []

    async def schedule(self, message: Message, now: datetime) -> None:
        await self._queue.schedule(message, now)
        self.messages.append(message)


async def _sweep(handled_at_most: int) -> dict[str, Any]:
    configuration = read_configuration(os.environ)
    async with open_ports(configuration) as opened:
        recorded = RecordedQueue(opened.schedule_queue)
        ports = replace(opened, schedule_queue=recorded)
        began, cpu = time.monotonic(), time.process_time()
        application = assemble(ports, configuration)
        report = await application.sweeper.run()
        taken = {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu, "peak_mb": _peak_mb()}
        handled = recorded.messages[:handled_at_most]
        for message in handled:
            await application.dispatcher.handle_message(message)
    if not report.complete:
        raise BenchFailed(f"the sweep did not finish: {report}")
    return {**taken, "found": report.requested, "handled": len(handled)}


async def _reading() -> dict[str, Any]:
    began, cpu = time.monotonic(), time.process_time()
    await read_graph()
    await read_table(SUMMARY_COLUMNS)
    return {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=("sweep", "reading"), required=True)
    parser.add_argument("--handle", type=int, default=0)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(_sweep(args.handle) if args.what == "sweep" else _reading())))


if __name__ == "__main__":
    main()
