"""The VMs of a fleet as ARM tells them now, for commands that only look: each is read once, some at a time, and again
where ARM asks its callers to slow down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from msgspec import Struct

from onboarding.application.operator_requests import NoAccess, check_access, check_any_access, no_token
from onboarding.application.ports import Arm
from onboarding.application.readers.container_reader import ContainerReader
from onboarding.application.readers.image_definitions import ImageDefinitions
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.retry_after import read_retry_after
from onboarding.domain.image.os_identification import ImageDefinition
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.resource_id import VmId, parse_id

_AT_ONCE = 8
_BUSY = (429, 503)
_MOST_TRIES = 20  # some minutes, by what ARM asks for
_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 60.0

type Sleep = Callable[[float], Awaitable[None]]


class Seen(Struct, frozen=True):
    """One VM. `unread`: why ARM did not tell it; then the facts are those of a list, or its id alone."""

    facts: MachineFacts
    definition: ImageDefinition | None = None
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A VM to be read, and what a list says of it."""

    vm: VmId
    body: Mapping[str, Any] = field(repr=False)


def listed(body: Mapping[str, Any]) -> Listed | None:
    """None for a body that does not say which VM it is."""
    vm = parse_id(str(body.get("id")))
    return Listed(vm, body) if isinstance(vm, VmId) else None


class FleetReader:
    """Lists VMs and reads them, each with what the policies ask for around it. A VM that no policy reaches is not read:
    that says it all."""

    def __init__(
        self, arm: Arm, definitions: ImageDefinitions, policies: Sequence[PolicySet], sleep: Sleep = asyncio.sleep
    ) -> None:
        self._arm = arm
        self._definitions = definitions
        self._policies = policies
        self._containers = ContainerReader(arm)
        self._sleep = sleep

    async def all_of(self, subscriptions: Collection[str]) -> list[Listed]:
        """The VMs of these subscriptions; without any, of all that whoever is signed in sees. Raises NoAccess and
        ArmError."""
        if subscriptions:
            await check_access(self._arm, subscriptions)
        else:
            await check_any_access(self._arm)
            subscriptions = await self._patiently(self._arm.list_subscriptions)
        found: dict[str, Listed] = {}
        for subscription in subscriptions:
            for body in await self._patiently(partial(self._bodies, subscription)):
                if (each := listed(body)) is not None:
                    found.setdefault(each.vm.key, each)
        return [*found.values()]

    async def read(self, fleet: Sequence[Listed]) -> AsyncIterator[Seen]:
        """Each VM in its order. Raises NoAccess for a subscription that ARM does not show, before any VM is read."""
        await check_access(self._arm, {each.vm.subscription for each in fleet})
        for start in range(0, len(fleet), _AT_ONCE):
            for seen in await asyncio.gather(*map(self._read, fleet[start : start + _AT_ONCE])):
                yield seen

    async def _bodies(self, subscription: str) -> list[Mapping[str, Any]]:
        return [body async for body in self._arm.list_machines(subscription)]

    async def _read(self, each: Listed) -> Seen:
        if not any(policies.reaching(each.vm) for policies in self._policies):
            return Seen(read_facts(each.body))
        try:
            reading = await self._patiently(partial(self._arm.read_machine, each.vm))
        except ArmError as error:
            if no_token(error):
                raise NoAccess(each.vm.subscription, error) from None
            gone = error.evidence.http_status == 404
            why = "ARM knows no such VM" if gone else f"ARM did not let it be read ({error})"
            return Seen(read_facts(each.body), unread=why)
        facts = read_facts(reading.body)
        for policies in self._policies:
            facts = (await self._containers.complete(facts, policies, datetime.now(UTC))).facts
        return Seen(facts, await self._definitions.read(facts))

    async def _patiently[T](self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer, also where ARM said "too many" at first. Raises ArmError for any other refusal."""
        for _ in range(_MOST_TRIES):
            try:
                return await ask()
            except ArmError as error:
                if error.evidence.http_status not in _BUSY:
                    raise
                asked = read_retry_after(error.evidence, datetime.now(UTC))
                await self._sleep(min(asked or _PAUSE_S, _LONGEST_PAUSE_S))
        return await ask()
