"""Decides whether an install may go under its policy's rollout limit, and counts installs and failures.

A policy without a rollout limit costs nothing. With an hourly limit, each install costs one conditional write; the
worker caches what it wrote, and reads again only if another worker has written since. A canary costs a write for its
first machine and for each of its successes and failures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from onboarding.application.ports import RolloutStore, StoredRollout
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.limits.rollout_limit import RolloutBlock, RolloutLimit, RolloutState
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.resource_id import VmId
from onboarding.logging import logger

_log = logger(__name__)

_FRESH_FOR = timedelta(seconds=15)
_TRIES = 5


class RolloutLimits:
    """The rollout limits of all policies, with the counts that this worker knows."""

    def __init__(self, store: RolloutStore, policies: tuple[Policy, ...]) -> None:
        self._store = store
        self._rollouts = {policy.name: policy.rollout_limit for policy in policies if policy.rollout_limit is not None}
        self._hashes = {policy.name: policy.digest for policy in policies}
        self._known: dict[str, tuple[datetime, StoredRollout]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def count_install(
        self, policy: str, vm: VmId, now: datetime, *, requested: bool = False
    ) -> RolloutBlock | None:
        """Count an install of this policy on that VM, or return why it has to wait; None: it was counted and may go.
        `requested` says that a person asked for it. Raises StorageError."""
        rollout_limit = self._rollouts.get(policy)
        if rollout_limit is None:
            return None
        async with self._lock(policy):
            return await self._count_install(policy, rollout_limit, vm, now, requested=requested)

    async def record_outcome(self, row: Row, last: Row | None, now: datetime) -> None:
        """Count a success or a new failure of the row's policy. Never raises: the log has what could not be counted."""
        rollout_limit = self._rollouts.get(row.policy)
        if rollout_limit is None or (rollout_limit.failures_in_a_row is None and rollout_limit.canary is None):
            return
        try:
            async with self._lock(row.policy):
                if _is_new_success(row, last):
                    await self._update(row.policy, now, lambda state: state.succeeded(row, rollout_limit, now))
                elif _is_new_failure(row, last):
                    state = await self._update(row.policy, now, lambda state: state.failed(row, rollout_limit, now))
                    if state.stopped_at == now:
                        _log.about(row).error("%s", state)
        except (StorageError, LostRace) as error:
            text = "policy %s: the counts of its rollout limit could not be written: %s"
            _log.about(row).error(text, row.policy, error)

    async def _count_install(
        self, policy: str, rollout_limit: RolloutLimit, vm: VmId, now: datetime, *, requested: bool
    ) -> RolloutBlock | None:
        def blocked(stored: StoredRollout) -> RolloutBlock | None:
            state = stored.state.of(rollout_limit, self._hashes[policy])
            return state.blocked(rollout_limit, vm, now, requested=requested)

        for _ in range(_TRIES):
            stored = await self._read(policy, now, any_age=rollout_limit.installs_per_hour is not None)
            if blocked(stored) is not None:
                stored = await self._read(policy, now)  # a person may have resumed the policy since
                if (block := blocked(stored)) is not None:
                    return block
            counted = stored.state.of(rollout_limit, self._hashes[policy]).installed(rollout_limit, vm, now)
            if counted == stored.state:
                return None
            try:
                await self._write(counted, stored, now)
            except LostRace:
                continue
            return None
        return RolloutBlock(f"many workers install under policy {policy} at once, and it has a limit")

    async def _update(self, policy: str, now: datetime, change: Callable[[RolloutState], RolloutState]) -> RolloutState:
        """Apply a change to the stored state, and return the new state; nothing is written if it is the same. Raises
        LostRace after five conflicts, and StorageError."""
        for remaining in reversed(range(_TRIES)):
            stored = await self._read(policy, now)
            changed = change(stored.state)
            if changed == stored.state:
                break
            try:
                await self._write(changed, stored, now)
                break
            except LostRace:
                if not remaining:
                    raise
        return changed

    async def _read(self, policy: str, now: datetime, *, any_age: bool = False) -> StoredRollout:
        """The cached state, read again if it is too old. `any_age` accepts any cached state: for a conditional write,
        which fails if the state is old."""
        at, known = self._known.get(policy, (None, None))
        if known is None or at is None or (now - at > _FRESH_FOR and not any_age):
            known = await self._store.read(policy) or StoredRollout(RolloutState(policy), None)
            self._known[policy] = (now, known)
        return known

    async def _write(self, state: RolloutState, over: StoredRollout, now: datetime) -> None:
        self._known.pop(state.policy, None)
        written = await self._store.write(state, over.version, rest=over.rest)
        self._known[state.policy] = (now, StoredRollout(state, written, over.rest))

    def _lock(self, policy: str) -> asyncio.Lock:
        return self._locks.setdefault(policy, asyncio.Lock())


def _is_new_success(row: Row, last: Row | None) -> bool:
    """Whether the row says for the first time that what was requested is done."""
    if row.outcome is Outcome.REMOVED:
        return row.attempt > 0 and (last is None or last.outcome is not Outcome.REMOVED)
    return row.outcome is Outcome.INSTALLED and (last is None or not last.outcome.present)


def _is_new_failure(row: Row, last: Row | None) -> bool:
    """Whether the row says for the first time that a requested install has failed."""
    if row.outcome is not Outcome.FAILED or not row.attempt:
        return False
    return last is None or last.outcome is not Outcome.FAILED or last.event_id != row.event_id
