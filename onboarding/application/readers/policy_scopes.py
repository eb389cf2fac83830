"""The policies with their management groups looked into: what is in a group changes seldom, so it is kept for an hour.

A group that nobody can look into stops nothing: its policies keep to the safe side (`management_groups`), and
what is wrong is said by name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from onboarding.application.ports import Inventory, PolicyStore
from onboarding.domain.errors import ArmError
from onboarding.domain.policy.management_groups import groups_named, problems, resolve
from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.policy.policy_version import PolicyState, seen

_log = logging.getLogger(__name__)

_FRESH_FOR = timedelta(hours=1)
_RETRY_AFTER = timedelta(minutes=1)  # after it could not be asked


class PolicyScopes:
    """The policies as far as this process knows what they reach."""

    def __init__(self, policies: PolicySet, inventory: Inventory) -> None:
        self._inventory = inventory
        self._configured = policies
        self._groups = groups_named(policies)
        self._members: Mapping[str, frozenset[str]] = {}
        self._resolved = resolve(policies, {}) if self._groups else policies
        self._until: datetime | None = None
        self._refreshing = asyncio.Lock()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the groups that policies name, as far as anybody asked."""
        return problems(self._configured, self._members) if self._groups else ()

    async def policies(self, now: datetime) -> PolicySet:
        """The policies with subscriptions in the place of management groups. Without any, this asks nobody."""
        if self._groups and not self._is_fresh(now):
            async with self._refreshing:
                if not self._is_fresh(now):
                    await self._refresh(now)
        return self._resolved

    def _is_fresh(self, now: datetime) -> bool:
        return self._until is not None and now < self._until

    async def _refresh(self, now: datetime) -> None:
        try:
            self._members = await self._inventory.members(sorted(self._groups))
        except ArmError as error:
            self._until = now + _RETRY_AFTER
            _log.error("the management groups of policies could not be looked into: %s", error)
            return
        self._until = now + _FRESH_FOR
        self._resolved = resolve(self._configured, self._members)
        for problem in self.problems:
            _log.error("%s", problem)


class PolicyVersions:
    """Since when each policy is as it is, over all workers: kept in a store, which the sweep keeps up to date."""

    def __init__(self, policies: PolicySet, store: PolicyStore | None, stable: timedelta) -> None:
        """Without a store every policy counts as settled. `stable` is how long one has to be the same for that."""
        self._policies = policies
        self._store = store
        self._stable = stable
        self._states: Mapping[str, PolicyState] = {}

    async def read(self, now: datetime, *, write: bool) -> None:
        """Compare the policies with those that were seen last, and keep what is new. Raises StorageError."""
        if self._store is None:
            return
        last = await self._store.read_all()
        self._states = {policy.name: seen(policy, last.get(policy.name), now) for policy in self._policies.policies}
        for name, state in self._states.items():
            if write and state != last.get(name):
                _log.info("policy %s has changed, or is new: %s", name, state.digest)
                await self._store.write(state)

    def settled(self, policy: Policy, now: datetime) -> bool:
        """Whether final rows may be opened again for it: no other version of it was seen for a while."""
        if self._store is None:
            return True
        state = self._states.get(policy.name)
        return state is not None and state.settled(policy, now, self._stable)
