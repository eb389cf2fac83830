"""Reads heartbeats with few queries, however many machines ask for theirs.

A question about one machine is sent alone as long as few machines ask; it is small, whatever the workspace holds. When
more of them ask within some minutes, the whole workspace is read with one query, and its answer serves all machines for
these minutes. A refusal is kept too, for a shorter time: a workspace that refuses is not asked again for each machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from onboarding.application.ports import Clock, Heartbeats
from onboarding.concurrency import SingleFlight, limit
from onboarding.domain.errors import HeartbeatError
from onboarding.domain.failures.evidence import Evidence

FRESH = timedelta(minutes=15)
"""How old a heartbeat may be that proves anything."""
_ALONE = 10  # machines that are asked for one by one, before the whole workspace is read
_REFUSED_SHARE = 0.1  # of the time for which an answer is used: a refusal may be over sooner

type HeardAgents = Mapping[str, datetime]  # the newest heartbeats of a machine, by the category of the agent


@dataclass(slots=True)
class _Held:
    """What is known of one workspace since `at`."""

    at: datetime
    alone: int = 0
    """How many machines were asked for one by one."""
    machines: Mapping[str, HeardAgents] | None = None
    """The whole workspace, by the machines' ids in lower case; None: it was not read."""
    refused: Evidence | None = None
    """Why the whole workspace could not be read."""


class HeartbeatReader:
    """The heartbeats of the last 15 minutes. Its memory holds the answer of each workspace that policies name."""

    def __init__(self, heartbeats: Heartbeats | None, clock: Clock, held_for: timedelta) -> None:
        """`held_for` is how long the answer about a whole workspace is used."""
        self._heartbeats = heartbeats
        self._clock = clock
        self._held_for = held_for
        self._held: dict[str, _Held] = {}
        self._flights: SingleFlight[str, Mapping[str, HeardAgents]] = SingleFlight()

    @property
    def available(self) -> bool:
        """Whether this process can ask workspaces at all."""
        return self._heartbeats is not None

    async def of_machine(self, workspace: str, machine: str) -> HeardAgents:
        """The heartbeats of one machine, of which `machine` is the id in lower case. Raises HeartbeatError."""
        held = self._state(workspace)
        if held.machines is not None or held.refused is not None or held.alone >= _ALONE or self._heartbeats is None:
            return (await self.of_workspace(workspace)).get(machine, {})
        held.alone += 1
        found = await self._heartbeats.newest(workspace, [machine], since=self._clock() - FRESH)
        return found.get(machine, {})

    async def of_workspace(self, workspace: str) -> Mapping[str, HeardAgents]:
        """Those of all machines, perhaps read some minutes ago. Raises HeartbeatError."""
        held = self._state(workspace)
        if held.refused is not None:
            raise HeartbeatError(held.refused)
        if held.machines is not None:
            return held.machines
        return await _within_deadline(self._flights.run(workspace, lambda: self._read(workspace)))

    def _state(self, workspace: str) -> _Held:
        now = self._clock()
        held = self._held.get(workspace)
        if held is not None and held.refused is not None and now - held.at >= self._held_for * _REFUSED_SHARE:
            held = self._held[workspace] = _Held(now, alone=held.alone)
        if held is None or now - held.at >= self._held_for:
            held = self._held[workspace] = _Held(now)
        return held

    async def _read(self, workspace: str) -> Mapping[str, HeardAgents]:
        if self._heartbeats is None:
            return {}
        now = self._clock()
        held = _Held(now, alone=_ALONE)
        try:
            held.machines = await self._heartbeats.newest(workspace, since=now - FRESH)
        except HeartbeatError as error:
            held.refused = error.evidence
            raise
        finally:
            self._held[workspace] = held
        return held.machines


async def _within_deadline(reading: Awaitable[Mapping[str, HeardAgents]]) -> Mapping[str, HeardAgents]:
    """What the query finds, in the time that the event has left; the query itself goes on for those who ask later."""
    try:
        async with asyncio.timeout(limit(None, keep_reserve=True)):
            return await reading
    except TimeoutError:
        raise HeartbeatError(
            Evidence(code="Timeout", message="the query took longer than the event has time")
        ) from None
