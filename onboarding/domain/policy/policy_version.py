"""Since when a policy has its present content, so that two versions that run at once do not undo each other's work.

During a deployment, workers of two versions run, and each finds rows that differ from its own policies. So only a
policy that has not changed for a while opens final rows again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from onboarding.domain.policy.policy import Policy


class PolicyState(Struct, frozen=True):
    """The version of a policy that was seen last."""

    policy: str  # its name
    digest: str
    since: datetime | None = None  # when it replaced another version (UTC); None if there was none

    def settled(self, policy: Policy, now: datetime, stable: timedelta) -> bool:
        """Whether the policy is the version that was seen, and has not changed for that long."""
        return self.digest == policy.digest and (self.since is None or now - self.since >= stable)


def seen(policy: Policy, last: PolicyState | None, now: datetime) -> PolicyState:
    """The state to store for a policy that is seen now; `last` itself if nothing has changed."""
    if last is None:
        return PolicyState(policy.name, policy.digest)
    return last if last.digest == policy.digest else PolicyState(policy.name, policy.digest, now)
