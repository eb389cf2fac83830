"""Since when a policy is as it is: what a deployment that is under way must not do is undo the other version's work.

While workers of two versions are at work, each finds the other's rows to differ from its own policies. Final rows are
opened again only by a policy that has been the same for a while.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from onboarding.domain.policy.policy import Policy


class PolicyState(Struct, frozen=True):
    """The digest of a policy that was seen last. `since` is when it replaced another; None if there was no other."""

    policy: str
    digest: str
    since: datetime | None = None

    def settled(self, policy: Policy, now: datetime, stable: timedelta) -> bool:
        """Whether the policy is the one that was seen, and has been so for that long."""
        return self.digest == policy.digest and (self.since is None or now - self.since >= stable)


def seen(policy: Policy, last: PolicyState | None, now: datetime) -> PolicyState:
    """What is to be kept of a policy that is seen now; `last` itself if nothing has changed."""
    if last is None:
        return PolicyState(policy.name, policy.digest)
    return last if last.digest == policy.digest else PolicyState(policy.name, policy.digest, now)
