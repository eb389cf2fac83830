"""Since when a policy has its present content, so that two versions that run at once do not undo each other's work.

During a deployment, workers of two versions run, and each finds rows that differ from its own policies. So only a
policy that has not changed for a while opens final rows again. It is also known since when each of its selections is
there, so that older machines can be distinguished from new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from datetime import datetime, timedelta
from operator import itemgetter

from msgspec import Struct

from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy_digest import same_version

_MOST_SELECTIONS = 100  # of one policy; the earliest are forgotten


class PolicyState(Struct, frozen=True):
    """The version of a policy that was seen last."""

    policy: str  # its name
    digest: str
    since: datetime | None = None  # when it replaced another version (UTC); None if there was none
    first_seen: Mapping[str, datetime] = {}
    """When the policy was first seen to select as it did (UTC), by `Policy.selection_digest`."""

    def settled(self, policy: Policy, now: datetime, stable: timedelta) -> bool:
        """Whether the policy is the version that was seen, and has not changed for that long."""
        return same_version(self.digest, policy.digest) and (self.since is None or now - self.since >= stable)


def seen(policy: Policy, last: PolicyState | None, now: datetime) -> PolicyState:
    """The state to store for a policy that is seen now; `last` itself if nothing has changed. A selection that comes
    back keeps the time at which it was first seen."""
    state = last or PolicyState(policy.name, policy.digest)
    if not same_version(state.digest, policy.digest):
        state = replace(state, since=now)
    if state.digest != policy.digest:
        state = replace(state, digest=policy.digest)
    return selecting(policy, state, now)


def selecting(policy: Policy, last: PolicyState | None, now: datetime) -> PolicyState:
    """The same without its content: only the time at which its selection was first seen."""
    state = last or PolicyState(policy.name, policy.digest)
    if policy.selection_digest in state.first_seen:
        return state
    known = sorted(state.first_seen.items(), key=itemgetter(1))[1 - _MOST_SELECTIONS :]
    return replace(state, first_seen={**dict(known), policy.selection_digest: now})
