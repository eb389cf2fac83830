"""Since when each policy is unchanged, and since when it selects as it does, on all workers.

The store has one row for each policy. The sweep keeps all of it. A worker adds only the time at which it first saw a
selection, if no sweep has run yet. Each write is conditional, so all workers agree on one time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from onboarding.application.ports import PolicyStore
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.policy.policy_version import PolicyState, seen, selecting
from onboarding.logging import logger

_log = logger(__name__)

_TRIES = 5


class PolicyVersions:
    """Since when each policy is unchanged, as the sweep keeps it."""

    def __init__(self, policies: PolicySet, store: PolicyStore | None, stable: timedelta) -> None:
        """`stable` is how long a policy must be unchanged to count as settled; without a store, every policy does."""
        self._policies = policies
        self._store = store
        self._stable = stable
        self._states: Mapping[str, PolicyState] = {}

    async def read(self, now: datetime, *, write: bool) -> None:
        """Compare the policies with the last seen versions; `write` stores what has changed. Raises StorageError."""
        if self._store is None:
            return
        policies = self._policies.policies
        self._states, written = await _updated(
            self._store, policies, lambda policy, last: seen(policy, last, now), write=write
        )
        for state in written:
            _log.info("policy %s has changed, or is new: %s", state.policy, state.digest)

    def settled(self, policy: Policy, now: datetime) -> bool:
        """Whether the policy is unchanged for so long that its final rows may be opened again."""
        if self._store is None:
            return True
        state = self._states.get(policy.name)
        return state is not None and state.settled(policy, now, self._stable)


class FirstSeen:
    """When each policy that spares existing machines was first seen to select as it does. One per process: a time never
    changes, so it is read once."""

    def __init__(self, policies: PolicySet, store: PolicyStore | None) -> None:
        self._policies = tuple(policy for policy in policies.policies if policy.spares_existing)
        self._store = store
        self._known: Mapping[str, datetime] | None = None
        self._reading = asyncio.Lock()

    async def read(self, now: datetime, *, write: bool = True) -> Mapping[str, datetime]:
        """The times (UTC) by the policy's name. A selection that nobody has seen yet is first seen now; `write` stores
        that. Without a store, no time is known. Raises StorageError."""
        if self._store is None or not self._policies:
            return {}
        async with self._reading:
            if self._known is not None:
                return self._known
            states, _ = await _updated(
                self._store, self._policies, lambda policy, last: selecting(policy, last, now), write=write
            )
            times = {each.name: states[each.name].first_seen[each.selection_digest] for each in self._policies}
            if write:
                self._known = times
            return times

    async def keep(self, now: datetime) -> None:
        """Have the times stored, for the machines that are new today. Never raises: the next pass tries again."""
        try:
            await self.read(now)
        except StorageError as error:
            _log.warning("when the policies were first seen could not be stored: %s", error)


async def _updated(
    store: PolicyStore,
    policies: Iterable[Policy],
    change: Callable[[Policy, PolicyState | None], PolicyState],
    *,
    write: bool = True,
) -> tuple[Mapping[str, PolicyState], Sequence[PolicyState]]:
    """The changed states of these policies, by name, and those of them that were written since they differ. Raises
    StorageError, also after five conflicts with other workers."""
    for _ in range(_TRIES):
        stored = await store.read_all()
        before = {name: each.state for name, each in stored.items()}
        states = {policy.name: change(policy, before.get(policy.name)) for policy in policies}
        written = [state for name, state in states.items() if write and state != before.get(name)]
        try:
            for state in written:
                there = stored.get(state.policy)
                await store.write(state, there.version if there else None, rest=there.rest if there else None)
        except LostRace:
            continue
        return states, written
    raise StorageError(f"other workers wrote the policies' rows first, {_TRIES} times")
