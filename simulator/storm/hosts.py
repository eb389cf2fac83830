"""One functions host after the other, at the same address: killed without warning, and started again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from simulator.host_process import FunctionsHost
from simulator.laptop import FUNCTION, ROOT, SUBSCRIPTIONS, Laptop

_STARTED_WITHIN = 60.0


class Hosts:
    """Starts, kills and stops the hosts; `output` has the logs of all of them."""

    def __init__(self, laptop: Laptop, policies: Path, settings: Mapping[str, str], logs: Path) -> None:
        self._laptop = laptop
        self._environment = laptop.host_environment(policies, settings)
        self._logs = logs
        self._hosts: list[FunctionsHost] = []

    @property
    def pid(self) -> int:
        return self._hosts[-1].pid

    @property
    def kills(self) -> int:
        """How many hosts were started after the first."""
        return len(self._hosts) - 1

    async def start(self) -> None:
        """Start the first host, and subscribe it to the events of every VM."""
        await self._launch()
        await self._laptop.subscribe(self._hosts[-1].event_grid_endpoint(FUNCTION), SUBSCRIPTIONS)

    async def kill(self) -> None:
        """Kill the host, like a power cut."""
        os.kill(self.pid, signal.SIGKILL)
        await self.stop()

    async def restart(self) -> None:
        """Start a host at the address of the last one, which was killed."""
        await self.stop()
        await self._launch("--port", str(urlsplit(self._hosts[-1].url).port))

    async def stop(self) -> None:
        """Stop the last host and give running functions time to end."""
        if self._hosts:
            await asyncio.to_thread(self._hosts[-1].stop)

    @property
    def alive(self) -> bool:
        """Whether the last host still runs; the test may have killed it in another way."""
        return self._hosts[-1].exit_code is None

    def output(self) -> str:
        return "\n".join(host.output() for host in self._hosts)

    async def _launch(self, *arguments: str) -> None:
        logs = self._logs / f"host-{len(self._hosts) + 1}"
        host = FunctionsHost(ROOT, self._environment, arguments=arguments, logs=logs)
        self._hosts.append(host)
        host.start()
        await asyncio.to_thread(host.wait_ready, _STARTED_WITHIN)
