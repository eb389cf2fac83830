"""Resolves the management groups in policy scopes to subscriptions, and knows since when each policy is unchanged.

The members of a group change seldom, so they are cached for an hour. If a group cannot be read, its policies keep to
the safe side (`management_groups`), and a problem names the group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from onboarding.application.ports import Inventory, PolicyStore
from onboarding.domain.errors import ArmError
from onboarding.domain.policy.management_groups import groups_named, problems, resolve
from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.policy.policy_version import PolicyState, seen
from onboarding.logging import logger

_log = logger(__name__)

_FRESH_FOR = timedelta(hours=1)
_RETRY_AFTER = timedelta(minutes=1)  # after Resource Graph did not answer


class PolicyScopes:
    """The policies, with the subscriptions of the management groups that they name."""

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
        """The management groups of policies that could not be resolved, as of the last read."""
        return problems(self._configured, self._members) if self._groups else ()

    async def policies(self, now: datetime) -> PolicySet:
        """The policies with subscriptions in place of management groups. Policies without groups cost no request."""
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
            _log.error("the management groups of policies could not be read: %s", error)
            return
        self._until = now + _FRESH_FOR
        self._resolved = resolve(self._configured, self._members)
        for problem in self.problems:
            _log.error("%s", problem)


class PolicyVersions:
    """Since when each policy is unchanged, on all workers. The sweep keeps it in a store."""

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
        last = await self._store.read_all()
        self._states = {policy.name: seen(policy, last.get(policy.name), now) for policy in self._policies.policies}
        for name, state in self._states.items():
            if write and state != last.get(name):
                _log.info("policy %s has changed, or is new: %s", name, state.digest)
                await self._store.write(state)

    def settled(self, policy: Policy, now: datetime) -> bool:
        """Whether the policy is unchanged for so long that its final rows may be opened again."""
        if self._store is None:
            return True
        state = self._states.get(policy.name)
        return state is not None and state.settled(policy, now, self._stable)
