"""Reads resource groups and subscriptions for the policy rules that ask for their tags, location or name.

A container is read only if a policy needs it, and cached for an hour; concurrent callers share one read. A refusal is
cached for some minutes and any other failure for some seconds, so that a group that cannot be read does not cost one
read for each of its machines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Container, Mapping
from copy import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from msgspec import Struct

from onboarding.application.ports import Arm
from onboarding.concurrency import SingleFlight, limit
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.machine.resource_containers import id_of, read_properties
from onboarding.domain.policy.policy import Assignment, PolicySet

_FRESH_FOR = timedelta(hours=1)
_FORBIDDEN_FOR = timedelta(minutes=5)
_FAILED_FOR = timedelta(seconds=10)  # shorter than any scheduled check's wait; spares a sweep of a large group
_MAX_CONTAINERS = 5000  # groups and subscriptions; a group's tags are a kilobyte or so
_FORBIDDEN = 403


class CompletedFacts(Struct, frozen=True):
    """The facts of a machine, completed by the containers that its policies ask for."""

    facts: MachineFacts
    """The machine's facts, with the tags, location and name of the containers that were read."""
    assignments: tuple[Assignment, ...]
    """What each policy says of the machine with these facts."""
    failures: Failures
    """Why a container that a policy asks for could not be read; empty: all were read."""


type Failures = Mapping[str, ArmError]  # by what could not be read: `resourceGroup`, `subscription`


class _Cached(Struct, frozen=True):
    until: datetime
    found: Mapping[str, Any] | ArmError


class ContainerReader:
    """Reads containers through a cache. One is shared by all events and the sweep of a process."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._cache: dict[str, _Cached] = {}
        self._reading: SingleFlight[str, _Cached] = SingleFlight()

    async def complete(
        self, facts: MachineFacts, policies: PolicySet, now: datetime, stored: Container[str] = ()
    ) -> CompletedFacts:
        """Read the containers that the policies ask for; `stored` are the targets of the machine's rows. Raises
        nothing: failures are part of the result."""
        failures: dict[str, ArmError] = {}
        assignments = policies.assign(facts, now, stored)
        while facts.id.name and (wanted := {assignment.unread for assignment in assignments} - {"", *failures}):
            what = min(wanted)
            try:
                facts = replace(facts, around=facts.around.having(what, await self._read(what, facts, now)))
            except ArmError as error:
                failures[what] = error
            else:
                assignments = policies.assign(facts, now, stored)
        return CompletedFacts(facts, assignments, failures)

    async def _read(self, what: str, facts: MachineFacts, now: datetime) -> Mapping[str, Any]:
        scope = id_of(what, facts.id)
        key = scope.lower()
        cached = self._cache.get(key)
        if cached is None or cached.until <= now:
            cached = await _within_deadline(self._reading.run(key, partial(self._fetch, what, scope, now)))
        if isinstance(cached.found, ArmError):
            raise cached.found
        return cached.found

    async def _fetch(self, what: str, scope: str, now: datetime) -> _Cached:
        key = scope.lower()
        try:
            cached = _Cached(now + _FRESH_FOR, read_properties(what, await self._arm.read_scope(scope)))
        except ArmError as error:
            forbidden = error.evidence.http_status == _FORBIDDEN
            cached = _Cached(now + (_FORBIDDEN_FOR if forbidden else _FAILED_FOR), error)
        self._cache.pop(key, None)
        while len(self._cache) >= _MAX_CONTAINERS:
            del self._cache[next(iter(self._cache))]
        self._cache[key] = cached
        return cached


async def _within_deadline(reading: Awaitable[_Cached]) -> _Cached:
    try:
        async with asyncio.timeout(limit(None, keep_reserve=True)):
            return await reading
    except TimeoutError:
        raise ArmError(Evidence(code="TimeoutError", message="ARM did not answer in time")) from None
