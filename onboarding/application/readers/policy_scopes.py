"""Resolves the management groups in policy scopes to subscriptions.

The members of a group change seldom, so they are cached for an hour. If a group cannot be read, its policies keep to
the safe side (`management_groups`), and a problem names the group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from onboarding.application.ports import Inventory
from onboarding.domain.errors import ArmError
from onboarding.domain.policy.management_groups import groups_named, problems, resolve
from onboarding.domain.policy.policy import PolicySet
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
