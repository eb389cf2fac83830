"""Runs functions: a log line for each run, the time limit, and the wait for running functions when the host stops.

The real host ends the worker process of a function that exceeds `functionTimeout`; here its task is cancelled,
and a thread that a plain `def` function blocks continues.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping

from simulator.host.logs import Invocation, current, host_logger, running
from simulator.host.messages import TypedData
from simulator.host.worker import Function, Result, Worker


class Invoker:
    def __init__(self, worker: Worker, timeout: float | None) -> None:
        self._worker = worker
        self._timeout = timeout
        self._running: set[asyncio.Task[Result]] = set()

    async def invoke(
        self, function: Function, data: TypedData, metadata: Mapping[str, TypedData] | None = None
    ) -> Result:
        """Run a function once, in its own task, so that it does not end with its caller."""
        task = asyncio.create_task(self._run(function, data, metadata or {}))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def drain(self, seconds: float) -> int:
        """Let running functions end within the given time; returns the number of runs that were cancelled."""
        if not self._running:
            return 0
        _, late = await asyncio.wait(self._running, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)

    async def _run(self, function: Function, data: TypedData, metadata: Mapping[str, TypedData]) -> Result:
        invocation = Invocation(function.name, str(uuid.uuid4()))
        running[invocation.id] = invocation
        current.set(invocation)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._worker.run(function, invocation.id, data, metadata)
        except TimeoutError:
            result = Result(False, None, f"Timeout value of {self._timeout:g} s exceeded by function: {function.name}")
        finally:
            del running[invocation.id]
        _report(invocation, result, (time.perf_counter() - started) * 1000)
        return result


def _report(invocation: Invocation, result: Result, duration: float) -> None:
    line = "Executed 'Functions.%s' (%s, Id=%s, Duration=%.0fms)"
    if result.succeeded:
        host_logger.info(line, invocation.function, "Succeeded", invocation.id, duration)
    else:
        failure = f"{line}: %s\n%s"
        host_logger.error(
            failure, invocation.function, "Failed", invocation.id, duration, result.message, result.stack.rstrip()
        )
