"""The storm itself: create a fleet under faults, kill hosts again and again, then wait until nothing changes.

The seed decides as much as real processes allow: which VMs there are, which events are duplicated or lost,
how often each kind of request fails, and after how many requests a host is killed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from copy import replace
from dataclasses import dataclass
from pathlib import Path

from simulator.arm import FaultRule, Options
from simulator.arm.compute.durations import read_ranges
from simulator.arm.http.faults import read_rule_file
from simulator.demo.fleet import Member
from simulator.demo.ledger import Ledger, Row
from simulator.demo.progress import Progress
from simulator.demo.scene import Scene
from simulator.laptop import ROOT, SUBSCRIPTIONS, Laptop
from simulator.roles import assign_shipped_roles
from simulator.storm.evidence import lacking, prepare
from simulator.storm.final_state import expected_rows
from simulator.storm.fleet import MIGRATING
from simulator.storm.hosts import Hosts
from simulator.storm.invariant import published_outcomes, row_is_right
from simulator.storm.others import Others
from simulator.storm.targets import IDENTITY, LINUX_RULE, NEWEST, RULE, SECRETS, WORKSPACE_ID

FAULTS = ROOT / "samples" / "faults" / "storm.yaml"
DURATIONS = ROOT / "samples" / "durations" / "storm.yaml"

# The queue is polled every second; the sweep acts on rows that are only some seconds late.
SETTINGS = {
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:01",
    "SWEEP_PATIENCE": "15s",
    "AMA_IDENTITY_ID": IDENTITY,
    "DATA_COLLECTION_RULE_ID": RULE,
    "LINUX_RULE_ID": LINUX_RULE,
    "LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE_ID,
    **SECRETS,
}

_WATCH = 0.02
_POLL = 1.0
_REST = 5  # times as long as a poll took: it reads the whole table, and so keeps Azurite and ARM from the hosts
_CALM_ROUNDS = 4  # polls in a row at which nothing is left to do
_OUTAGE = 2.0
_DOWN_TIME = 0.5  # seconds between the kill of a host and the start of the next
_CHANGES_AFTER = 120.0  # simulated seconds for which they go on after the last VM's story
_PAUSED = 36.0  # seconds: a little longer than the 30 within which every write has to stop
# Less than the requests of each VM, so that every kill happens; by the number of extensions.
_REQUESTS_EACH = {3: 2.5, 5: 10.0}


@dataclass(frozen=True, slots=True)
class StormOptions:
    """What goes wrong in a storm; shares are 0 to 1."""

    seed: int = 1
    faults: float = 0.2
    """The share of requests to ARM that fail."""
    duplicates: float = 0.1
    """The share of events that are delivered more than once."""
    lost: float = 0.05
    """The share of events that are never delivered."""
    kills: int = 3
    """How often a functions host is killed."""
    copies: int = 2
    """How often a duplicated event is delivered."""
    outages: int = 0
    """How often storage is unreachable for some seconds."""
    pauses: int = 0
    """How often a person pauses all writes, and resumes them after some time."""
    without: str = ""
    """An operation that the app's roles do not allow; empty: they are the shipped ones."""
    migrating: float = MIGRATING
    """The share of the VMs that migrate from the OMS agent to the Azure Monitor Agent."""
    extensions: int = 3
    """How many extensions a Linux VM that migrates has a row for: a key of `OWN`."""
    file: Path = FAULTS
    """The faults of ARM."""

    def rules(self) -> list[FaultRule]:
        """The file's rules, with their probabilities scaled so that `faults` of each kind of request fail."""
        rules = list(read_rule_file(self.file))
        shares = {
            kind: sum(rule.probability for rule in rules if rule.kind == kind) for kind in {r.kind for r in rules}
        }
        return [replace(r, probability=min(1.0, r.probability * self.faults / shares[r.kind])) for r in rules]

    def moments(self, what: str, count: int, vms: int) -> list[int]:
        """The numbers of requests to ARM after which something breaks, in rising order."""
        chance, requests = random.Random(f"{self.seed}|{what}"), _REQUESTS_EACH[self.extensions] * vms
        return sorted(int(chance.uniform(0.05, 0.95) * requests) for _ in range(count))


def options() -> Options:
    """ARM's options in a storm: the versions that its support tables describe, its own durations, and events of
    associations, all of which a storm loses."""
    return Options(
        subscriptions=tuple(SUBSCRIPTIONS),
        newest=NEWEST,
        durations=read_ranges(DURATIONS),
        association_events=True,
    )


async def until_calm(
    is_calm: Callable[[], Awaitable[bool]], stop_others: Callable[[], None], poll: float = _POLL
) -> None:
    """Return when it was calm at some polls in a row, and once more after those were stopped who act at any time: what
    they did in the last moment has to be answered, too."""
    calm = 0
    while calm <= _CALM_ROUNDS:
        began = time.monotonic()
        calm = calm + 1 if await is_calm() else 0
        if calm == _CALM_ROUNDS:
            stop_others()
        await asyncio.sleep(poll if calm else max(poll, _REST * (time.monotonic() - began)))


class Storm:
    """One storm; `run` returns when it is over."""

    def __init__(self, storm_options: StormOptions, laptop: Laptop, scene: Scene, hosts: Hosts) -> None:
        self._weather = storm_options
        self._laptop = laptop
        self._scene = scene
        self._hosts = hosts
        self._storage = asyncio.Lock()  # held while storage is unreachable
        self.others = Others(laptop.arm, storm_options.seed, scene.fleet)
        self.seconds = 0.0

    @property
    def fleet(self) -> Sequence[Member]:
        return self._scene.fleet

    async def run(self, ledger: Ledger, progress: Progress, limit: float) -> None:
        """Run the storm; returns when nothing has changed for some seconds, or after `limit` seconds."""
        prepare(self._laptop.arm)
        assign_shipped_roles(self._laptop.arm, SUBSCRIPTIONS, self._weather.without)
        self._laptop.arm.faults.add(*self._weather.rules())
        began = time.monotonic()
        work = (self._play(), self._kill(progress), self._cut_storage(progress), self._pause(progress))
        tasks = [asyncio.create_task(each) for each in work]
        try:
            async with asyncio.timeout(limit):
                await self._until_calm(ledger, progress, tasks)
        except TimeoutError:
            progress.say(f"The storm did not end within {limit:.0f} s")
        finally:
            self.seconds = time.monotonic() - began
            self.others.stop_undoing()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _play(self) -> None:
        """The owners and the others at work."""
        clock = self._laptop.clock
        self.others.start()
        try:
            await self._scene.play(self._laptop.arm, clock)
            await clock.sleep(_CHANGES_AFTER)
        finally:
            self.others.stop_changing()

    async def _kill(self, progress: Progress) -> None:
        """Kill a host at each of the chosen moments, of each version in turn."""
        versions = self._hosts.versions
        for number, moment in enumerate(self._weather.moments("kills", self._weather.kills, len(self._scene.fleet))):
            await self._until(moment)
            version = versions[(self._weather.seed + number) % len(versions)]
            await self._hosts.kill(version)
            progress.say(f"Killed the host of {version.name} after {moment} requests to ARM")
            await asyncio.sleep(_DOWN_TIME)
            await self._hosts.restart(version)

    async def _cut_storage(self, progress: Progress) -> None:
        """Stop Azurite at each of the chosen moments. It keeps what it had accepted, like Azure's storage."""
        for moment in self._weather.moments("outages", self._weather.outages, len(self._scene.fleet)):
            await self._until(moment)
            async with self._storage:
                await asyncio.to_thread(self._laptop.azurite.close)
                progress.say(f"Cut off storage after {moment} requests to ARM")
                await asyncio.sleep(_OUTAGE)
                await asyncio.to_thread(self._laptop.azurite.reopen)

    async def _pause(self, progress: Progress) -> None:
        """Let a person pause all writes at each of the chosen moments."""
        for moment in self._weather.moments("pauses", self._weather.pauses, len(self._scene.fleet)):
            await self._until(moment)
            progress.say(f"A person pauses all writes after {moment} requests to ARM, for {_PAUSED:.0f} s")
            async with self._storage:
                await self._hosts.pause()
            await asyncio.sleep(_PAUSED)
            async with self._storage:
                await self._hosts.resume()
            progress.say("The person resumes them")

    async def _until(self, requests: int) -> None:
        while len(self._laptop.arm.requests) < requests:  # noqa: ASYNC110  # the simulator has no event for it
            await asyncio.sleep(_WATCH)

    async def _until_calm(self, ledger: Ledger, progress: Progress, tasks: Sequence[asyncio.Task[None]]) -> None:
        async def is_calm() -> bool:
            for task in tasks:
                if task.done():
                    task.result()
            async with self._storage:
                rows = await ledger.rows()
            progress.update(self._scene.created, rows)
            still = all(task.done() for task in tasks) and not self._laptop.grid.in_flight
            return still and self._is_settled(rows)

        await until_calm(is_calm, self.others.stop_undoing)

    def _is_settled(self, rows: Sequence[Row]) -> bool:
        published = published_outcomes(self._laptop.topic.events)
        if any(row.final and (row.vm, row.extension, row.outcome) not in published for row in rows):
            return False
        found = {(row.vm, row.extension): row for row in rows}
        steps, extensions = self._hosts.steps, self._weather.extensions
        known = expected_rows(self._scene.fleet, self._laptop, self.others, rows, steps=steps, extensions=extensions)
        right = all(
            row_is_right(expected_row, row)
            if (row := found.get((expected_row.vm, expected_row.extension)))
            else expected_row.may_be_unknown
            for expected_row in known
        )
        return right and not any(lacking(self._laptop.arm, rows, steps=steps).values())
