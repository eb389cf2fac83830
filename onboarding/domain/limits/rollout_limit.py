"""A policy's rollout limit: so many installs an hour, a stop after so many failures in a row, as in Azure Policy's own
remediation, and a canary. Pure values; conditional writes keep the counts right.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct, field

from onboarding.domain.limits.canary import CANARY_COLUMNS, Canary, CanaryCounts
from onboarding.domain.masking import cut, mask
from onboarding.domain.reconcile.row import Row
from onboarding.domain.resource_id import VmId, parse_id, share_of
from onboarding.domain.typed_file import FileMapping, Refused

_HOUR = timedelta(hours=1)
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


type Count = Annotated[int, Meta(ge=1, extra={"is": "a whole number above 0", "fix": "write a number such as 100"})]


class RolloutLimit(FileMapping, frozen=True):
    """What `brake:` of a policy file allows; None is no limit."""

    what: ClassVar[str] = "a rollout limit"

    installs_per_hour: Annotated[Count | None, Meta(description="Installs in each full hour of the clock (UTC).")] = (
        field(default=None, name="maxInstallsPerHour")
    )
    failures_in_a_row: Annotated[Count | None, Meta(description="So many failures in a row stop the policy.")] = field(
        default=None, name="stopAfterFailures"
    )

    canary: Annotated[Canary | None, Meta(description="A part of the machines that is changed first.")] = None

    def __post_init__(self) -> None:
        if self.installs_per_hour is None and self.failures_in_a_row is None and self.canary is None:
            raise Refused("", "the rollout limit is empty", "write {maxInstallsPerHour: 100, stopAfterFailures: 5}")


class RolloutBlock(Struct, frozen=True):
    """Why an install has to wait."""

    reason: str
    until: datetime | None = None  # when the next installs are allowed (UTC); None until a person resumes the policy


class RolloutState(Struct, frozen=True):
    """What was counted for one policy."""

    policy: str
    hour: datetime = _BEGINNING  # the beginning of the hour that `installs` counts (UTC)
    installs: int = 0
    failures: int = 0  # in a row
    stopped_at: datetime | None = None  # UTC; None if the policy is not stopped
    because: str = ""  # the VM and the reason of the last failure, masked and cut
    canary: CanaryCounts = CanaryCounts()

    def of(self, rollout_limit: RolloutLimit, policy_hash: str) -> RolloutState:
        """The state for that version of the policy's file: a new file begins a new canary, and ends a stop."""
        if rollout_limit.canary is None or self.canary.tries(policy_hash):
            return self
        return replace(self.recovered(), canary=CanaryCounts(policy_hash))

    def blocked(
        self, rollout_limit: RolloutLimit, vm: VmId, now: datetime, *, requested: bool = False
    ) -> RolloutBlock | None:
        """Why the VM's install has to wait; None if it may be sent. A person's request for a VM of the canary, which
        is `requested`, passes a stop: its success resumes the policy."""
        canary, counts = rollout_limit.canary, self.canary
        passes = requested and canary is not None and counts.counts(canary, vm)
        if self.stopped_at is not None and not passes:
            return RolloutBlock(str(self))
        if canary is not None and not counts.is_over(canary, now) and not counts.admits(canary, vm, now):
            return RolloutBlock(f"policy {self.policy} has a canary: {canary} ({counts})", counts.opens_at(canary, now))
        if rollout_limit.installs_per_hour is None or self.installs_in(_hour_of(now)) < rollout_limit.installs_per_hour:
            return None
        used = f"policy {self.policy} may install {rollout_limit.installs_per_hour} times an hour (maxInstallsPerHour)"
        return RolloutBlock(f"{used}; this hour's installs are used up", _hour_of(now) + _HOUR)

    def installs_in(self, hour: datetime) -> int:
        return self.installs if self.hour == hour else 0

    def installed(self, rollout_limit: RolloutLimit, vm: VmId, now: datetime) -> RolloutState:
        """One more install is requested; the same state if nothing has to be counted."""
        state = self
        if rollout_limit.canary is not None:
            state = replace(state, canary=state.canary.admitted(rollout_limit.canary, vm, now))
        if rollout_limit.installs_per_hour is None:
            return state
        hour = _hour_of(now)
        return replace(state, hour=hour, installs=self.installs_in(hour) + 1)

    def failed(self, row: Row, rollout_limit: RolloutLimit, now: datetime) -> RolloutState:
        """One more failure; it stops the policy if it reaches the limit."""
        failures, counts = self.failures + 1, self.canary
        if rollout_limit.canary is not None and self._tries(row, rollout_limit.canary, now):
            counts = counts.with_failure(rollout_limit.canary)
        limit = rollout_limit.failures_in_a_row
        stopped = now if counts.stopped or (limit is not None and failures >= limit) else None
        because = cut(mask(f"{row.vm_name}: {row.reason}"))
        return replace(self, failures=failures, stopped_at=self.stopped_at or stopped, because=because, canary=counts)

    def succeeded(self, row: Row, rollout_limit: RolloutLimit, now: datetime) -> RolloutState:
        """The state after a success. What was requested before the canary's failures stopped the policy does not
        resume it."""
        late = self.stopped_at is None or (row.requested_at is not None and row.requested_at > self.stopped_at)
        if self.canary.stopped and not late:
            return self
        state = self.recovered()
        if rollout_limit.canary is None or not self._tries(row, rollout_limit.canary, now):
            return state
        return replace(state, canary=state.canary.with_success(now))

    def recovered(self) -> RolloutState:
        """The state after a success, or after a person resumed the policy."""
        counts = self.canary.again() if self.canary.stopped else self.canary
        return replace(self, failures=0, stopped_at=None, because="", canary=counts)

    def _tries(self, row: Row, canary: Canary, now: datetime) -> bool:
        """Whether the row's install is one of the canary that goes on."""
        vm = parse_id(row.resource_id)
        same = self.canary.tries(row.policy_hash) and not self.canary.is_over(canary, now)
        return same and isinstance(vm, VmId) and self.canary.counts(canary, vm)

    def __str__(self) -> str:
        tried = f"; {self.canary}" if self.canary.policy_hash else ""
        if self.stopped_at is None:
            return f"policy {self.policy} is not stopped ({self.failures} failures in a row){tried}"
        failed, what = (self.canary.failures, "in its canary") if self.canary.stopped else (self.failures, "in a row")
        since = f"since {self.stopped_at:%Y-%m-%d %H:%M} UTC after {failed} failure{'' if failed == 1 else 's'} {what}"
        fix = f'fix that, then: onboard policy resume "{self.policy}"'
        return f"policy {self.policy} is stopped {since}, the last on {self.because}; {fix}"

    def to_properties(self) -> dict[str, Any]:
        columns = {"Policy": self.policy, "Hour": self.hour, "Installs": self.installs, "Failures": self.failures}
        stopped = {"StoppedAt": self.stopped_at} if self.stopped_at else {}
        return {**columns, "Because": self.because, **stopped, **self.canary.to_properties()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any]) -> RolloutState:
        return cls(
            policy=properties["Policy"],
            hour=properties["Hour"],
            installs=properties["Installs"],
            failures=properties["Failures"],
            stopped_at=properties.get("StoppedAt"),
            because=properties.get("Because", ""),
            canary=CanaryCounts.from_properties(properties),
        )


ROLLOUT_COLUMNS = CANARY_COLUMNS | {"Policy", "Hour", "Installs", "Failures", "Because", "StoppedAt"}


def spread(until: datetime, vm: VmId) -> datetime:
    """The VM's own moment in the hour that begins then, so that not all VMs that wait come at once."""
    return until + share_of(_HOUR, vm.key)


def _hour_of(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)
