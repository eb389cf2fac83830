"""Reads the VMs of a fleet from ARM, for commands that do not write: several VMs concurrently, each once, and again
where ARM throttles the caller.
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

_CONCURRENT = 8  # VMs
_BUSY = (429, 503)
_MOST_TRIES = 20  # some minutes, by the Retry-After of ARM
_RETRY_S, _LONGEST_RETRY_S = 5.0, 60.0

type Sleep = Callable[[float], Awaitable[None]]


class FleetMachine(Struct, frozen=True):
    """One VM as ARM reported it."""

    facts: MachineFacts
    """Where the VM could not be read, those of the list that named it, or its id alone."""

    definition: ImageDefinition | None = None
    """The definition of its gallery image, where the OS depends on it."""

    unread: str = ""
    """Why the VM could not be read; '' if it was, or if no policy reaches it."""


@dataclass(frozen=True, slots=True)
class ListedMachine:
    """A VM to read, with its body in a list."""

    vm: VmId
    body: Mapping[str, Any] = field(repr=False)


def parse_listed(body: Mapping[str, Any]) -> ListedMachine | None:
    """The VM of a list; None for a body without the id of a VM."""
    vm = parse_id(str(body.get("id")))
    return ListedMachine(vm, body) if isinstance(vm, VmId) else None


class FleetReader:
    """Lists VMs and reads each, with the groups and subscriptions that the policies need. A VM that no policy reaches
    is not read: its outcome is clear without that."""

    def __init__(
        self, arm: Arm, definitions: ImageDefinitions, policies: Sequence[PolicySet], sleep: Sleep = asyncio.sleep
    ) -> None:
        self._arm = arm
        self._definitions = definitions
        self._policies = policies
        self._containers = ContainerReader(arm)
        self._sleep = sleep

    async def list_machines(self, subscriptions: Collection[str]) -> list[ListedMachine]:
        """The VMs of these subscriptions, or of all that the signed-in person can see. Raises NoAccess and ArmError."""
        if subscriptions:
            await check_access(self._arm, subscriptions)
        else:
            await check_any_access(self._arm)
            subscriptions = await self._retry_while_busy(self._arm.list_subscriptions)
        found: dict[str, ListedMachine] = {}
        for subscription in subscriptions:
            for body in await self._retry_while_busy(partial(self._bodies, subscription)):
                if (each := parse_listed(body)) is not None:
                    found.setdefault(each.vm.key, each)
        return [*found.values()]

    async def read(self, fleet: Sequence[ListedMachine]) -> AsyncIterator[FleetMachine]:
        """Each VM, in the order of the list. Raises NoAccess before any VM is read."""
        await check_access(self._arm, {each.vm.subscription for each in fleet})
        for start in range(0, len(fleet), _CONCURRENT):
            for machine in await asyncio.gather(*map(self._read, fleet[start : start + _CONCURRENT])):
                yield machine

    async def _bodies(self, subscription: str) -> list[Mapping[str, Any]]:
        return [body async for body in self._arm.list_machines(subscription)]

    async def _read(self, each: ListedMachine) -> FleetMachine:
        if not any(policies.reaching(each.vm) for policies in self._policies):
            return FleetMachine(read_facts(each.body))
        try:
            reading = await self._retry_while_busy(partial(self._arm.read_machine, each.vm))
        except ArmError as error:
            if no_token(error):
                raise NoAccess(each.vm.subscription, error) from None
            gone = error.evidence.http_status == 404
            why = "ARM knows no such VM" if gone else f"ARM did not let it be read ({error})"
            return FleetMachine(read_facts(each.body), unread=why)
        facts = read_facts(reading.body)
        for policies in self._policies:
            facts = (await self._containers.complete(facts, policies, datetime.now(UTC))).facts
        return FleetMachine(facts, await self._definitions.read(facts))

    async def _retry_while_busy[T](self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of ARM; a request that ARM throttles is repeated later. Raises ArmError for other errors."""
        for _ in range(_MOST_TRIES):
            try:
                return await ask()
            except ArmError as error:
                if error.evidence.http_status not in _BUSY:
                    raise
                retry_after = read_retry_after(error.evidence, datetime.now(UTC))
                await self._sleep(min(retry_after or _RETRY_S, _LONGEST_RETRY_S))
        return await ask()
