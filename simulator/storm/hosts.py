"""The functions hosts of a storm behind one address: one of each version, killed without warning, and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from simulator.host_process import FunctionsHost
from simulator.laptop import FUNCTION, SUBSCRIPTIONS, Laptop, run_command, sweep_by_hand, webhook
from simulator.own_handlers import own_handlers
from simulator.storm.front import Front
from simulator.storm.invariant import Handled
from simulator.storm.versions import THIS, Version

FAILED = " (Failed, "
"""What the host logs of each run that failed."""

_STARTED_WITHIN = 60.0
_STILL_AFTER = timedelta(seconds=30)
_WRITES = ("PUT", "PATCH", "DELETE")
_NEVER = "0 0 0 1 1 *"


class Hosts:
    """Starts, kills and stops the hosts. All of them share the events, the queue and the table, as the instances of a
    function app do while it is deployed anew."""

    def __init__(
        self,
        laptop: Laptop,
        settings: Mapping[str, str],
        logs: Path,
        beside: Sequence[Version] = (),
        sweep_every: int = 5,
    ) -> None:
        """Hosts of this version, and of those `beside` it. They sweep every so many seconds, a divisor of 60: not many,
        so that a storm does not take long."""
        self._laptop = laptop
        self._settings = settings
        self._logs = logs
        self._front = Front()
        self._paused_at = datetime.min.replace(tzinfo=UTC)
        self._pauses: list[tuple[datetime, datetime]] = []  # from the end of the one command to the begin of the other
        self._hosts: dict[Version, list[FunctionsHost]] = {version: [] for version in (THIS, *beside)}
        self._sweep_every = sweep_every
        self._at_rest = False

    @property
    def versions(self) -> Sequence[Version]:
        return tuple(self._hosts)

    @property
    def steps(self) -> bool:
        """Whether the policies want more than extensions: not beside a version that knows nothing else."""
        return all(version.knows_steps for version in self.versions)

    @property
    def removals(self) -> bool:
        """Whether the policies remove agents, too."""
        return all(version.knows_removals for version in self.versions)

    @property
    def kills(self) -> int:
        """How many hosts were started after the first of their version."""
        return sum(len(hosts) - 1 for hosts in self._hosts.values()) - self._at_rest

    async def start(self) -> None:
        """Start the first host of each version, and subscribe them to the events of every VM. The extensions of their
        policy folder's `extensions/` exist from then on."""
        policies = Path(self._environment(THIS)["ONBOARDING_POLICIES"])
        self._laptop.arm.publish_handlers(partial(own_handlers, policies))
        await asyncio.gather(*map(self._launch, self._hosts))
        await self._front.start()
        await self._laptop.subscribe(webhook(self._front.url), SUBSCRIPTIONS)

    async def kill(self, version: Version = THIS) -> None:
        """Kill the host of that version, like a power cut."""
        os.kill(self.pid(version), signal.SIGKILL)
        await self._end(version)

    async def restart(self, version: Version = THIS) -> None:
        """Start a host in the place of the last one, which was killed."""
        await self._end(version)
        await self._launch(version)

    async def stop(self) -> None:
        """Stop the last hosts and give running functions time to end."""
        await asyncio.gather(*(self._end(version) for version, hosts in self._hosts.items() if hosts))
        await self._front.stop()

    async def rest(self) -> None:
        """Replace the hosts by one of this version, which sweeps only when a person does."""
        await asyncio.gather(*map(self._end, self._hosts))
        self._at_rest = True
        await self._launch(THIS)

    async def totals(self) -> dict[str, int]:
        """A person sweeps once, and reads the totals: the rows by outcome. Raises RuntimeError if that fails."""
        await sweep_by_hand(self._environment(THIS))
        outcomes: dict[str, int] = json.loads(await self._command("status", "--totals", "-o", "json"))["outcomes"]
        return outcomes

    @property
    def pauses(self) -> int:
        """How often a person paused all writes."""
        return len(self._pauses)

    async def pause(self) -> None:
        """A person pauses all writes."""
        await self._command("pause", "--reason", "the storm's person wants quiet")
        self._paused_at = datetime.now(UTC)

    async def resume(self) -> None:
        """The person resumes them."""
        self._pauses.append((self._paused_at, datetime.now(UTC)))
        await self._command("resume")

    def sent_despite_pause(self) -> list[tuple[str, str]]:
        """VM and words of each write that was sent later than 30 seconds after the beginning of a pause."""
        ours = self._laptop.arm.options.principal_id
        return [
            (request.vm, f"{request.method} {request.path} was sent {(request.at - began).seconds} s after the pause")
            for began, ended in self._pauses
            for request in self._laptop.arm.requests.select(principal=ours)
            if request.method in _WRITES and request.vm and began + _STILL_AFTER <= request.at < ended
        ]

    async def _command(self, *arguments: str) -> str:
        return await run_command(self._environment(THIS), *arguments)

    def pid(self, version: Version = THIS) -> int:
        return self._hosts[version][-1].pid

    @property
    def url(self) -> str:
        """Where the last host of this version answers."""
        return self._hosts[THIS][-1].url

    def alive(self, version: Version = THIS) -> bool:
        """Whether the last host still runs; the test may have killed it in another way."""
        return self._hosts[version][-1].exit_code is None

    def output(self) -> str:
        return "\n".join(map(self._output, self._hosts))

    def handled(self, version: Version) -> Handled:
        log = self._output(version)
        mark = f" {version.name}"
        return Handled(
            events=_succeeded(log, FUNCTION),
            messages=_succeeded(log, "on_deferral"),
            sweeps=_succeeded(log, "sweep"),
            calls=sum(bool(call.vm) and call.user_agent.endswith(mark) for call in self._laptop.arm.requests),
            failed=log.count(FAILED),
        )

    async def _launch(self, version: Version) -> None:
        hosts = self._hosts[version]
        logs = self._logs / f"host-{version.name}-{len(hosts) + 1}"
        host = FunctionsHost(version.folder, self._environment(version), logs=logs)
        hosts.append(host)
        host.start()
        await asyncio.to_thread(host.wait_ready, _STARTED_WITHIN)
        self._front.hosts.append(host.url)

    async def _end(self, version: Version) -> None:
        host = self._hosts[version][-1]
        if host.url in self._front.hosts:
            self._front.hosts.remove(host.url)
        await asyncio.to_thread(host.stop)

    def _environment(self, version: Version) -> dict[str, str]:
        """In Azure a timer runs on one instance at a time, so the versions sweep in turn."""
        number, count = self.versions.index(version), len(self._hosts)
        every = self._sweep_every
        schedule = _NEVER if self._at_rest else f"{number * every}/{count * every} * * * * *"
        own = {
            "SWEEP_SCHEDULE": schedule,
            "AZURE_HTTP_USER_AGENT": version.name,  # the SDKs put it at the end of their own user agent
        }
        return self._laptop.host_environment(self._policies(), {**self._settings, **own})

    def _policies(self) -> Path:
        """All hosts have the policies of this version, unless the other one does not understand them: then all have
        those of the other."""
        return next((each.policies for each in self.versions if not each.knows_removals), THIS.policies)

    def _output(self, version: Version) -> str:
        return "\n".join(host.output() for host in self._hosts[version])


def _succeeded(log: str, function: str) -> int:
    return log.count(f"'Functions.{function}' (Succeeded")
