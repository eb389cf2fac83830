"""Resource groups and subscriptions, read for the rules that ask for their tags, place or name.

Read only where a policy cannot be decided without, and kept for an hour: of all that want the same at once, one reads.
What ARM forbids is remembered for some minutes, and other failures for some seconds: a group that cannot be read costs
no read for each of its machines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
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

_FRESH = timedelta(hours=1)
_FORBIDDEN_FOR = timedelta(minutes=5)
_FAILED_FOR = timedelta(seconds=10)  # less than any check waits; a sweep of a large group asks no more for a while
_MOST = 5000  # groups and subscriptions; a group's tags are a kilobyte or so
_FORBIDDEN = 403


class Completed(Struct, frozen=True):
    """The facts with what was read around the machine, what the policies say of it then, and why some of what they ask
    for could not be read."""

    facts: MachineFacts
    assignments: tuple[Assignment, ...]
    failures: Failures


type Failures = Mapping[str, ArmError]  # by what could not be read: `resourceGroup`, `subscription`


class _Kept(Struct, frozen=True):
    until: datetime
    found: Mapping[str, Any] | ArmError


class ContainerReader:
    """Holds what it read. Who asks about many machines asks one of these."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._kept: dict[str, _Kept] = {}
        self._reading: SingleFlight[str, _Kept] = SingleFlight()

    async def complete(self, facts: MachineFacts, policies: PolicySet, now: datetime) -> Completed:
        """Read all that the policies ask for around the machine. Raises nothing: what cannot be read is told."""
        failures: dict[str, ArmError] = {}
        assignments = policies.assign(facts, now)
        while facts.id.name and (wanted := {said.unread for said in assignments} - {"", *failures}):
            what = min(wanted)
            try:
                facts = replace(facts, around=facts.around.having(what, await self._read(what, facts, now)))
            except ArmError as error:
                failures[what] = error
            else:
                assignments = policies.assign(facts, now)
        return Completed(facts, assignments, failures)

    async def _read(self, what: str, facts: MachineFacts, now: datetime) -> Mapping[str, Any]:
        scope = id_of(what, facts.id)
        key = scope.lower()
        kept = self._kept.get(key)
        if kept is None or kept.until <= now:
            kept = await _in_time(self._reading.ask(key, partial(self._ask, what, scope, now)))
        if isinstance(kept.found, ArmError):
            raise kept.found
        return kept.found

    async def _ask(self, what: str, scope: str, now: datetime) -> _Kept:
        key = scope.lower()
        try:
            kept = _Kept(now + _FRESH, read_properties(what, await self._arm.read_scope(scope)))
        except ArmError as error:
            forbidden = error.evidence.http_status == _FORBIDDEN
            kept = _Kept(now + (_FORBIDDEN_FOR if forbidden else _FAILED_FOR), error)
        self._kept.pop(key, None)
        while len(self._kept) >= _MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = kept
        return kept


async def _in_time(reading: Awaitable[_Kept]) -> _Kept:
    try:
        async with asyncio.timeout(limit(None, for_others=True)):
            return await reading
    except TimeoutError:
        raise ArmError(Evidence(code="TimeoutError", message="ARM did not answer in time")) from None
