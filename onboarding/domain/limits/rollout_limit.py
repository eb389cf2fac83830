"""A policy's rollout limit: so many installs an hour, and a stop after so many failures in a row, as in Azure Policy's
own remediation. Pure values; conditional writes keep the counts right.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct, field

from onboarding.domain.masking import cut, mask
from onboarding.domain.reconcile.row import Row
from onboarding.domain.resource_id import VmId
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

    def __post_init__(self) -> None:
        if self.installs_per_hour is None and self.failures_in_a_row is None:
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

    def blocked(self, rollout_limit: RolloutLimit, now: datetime) -> RolloutBlock | None:
        """Why the next install has to wait; None if it may be sent."""
        if self.stopped_at is not None:
            return RolloutBlock(str(self))
        if rollout_limit.installs_per_hour is None or self.installs_in(_hour_of(now)) < rollout_limit.installs_per_hour:
            return None
        used = f"policy {self.policy} may install {rollout_limit.installs_per_hour} times an hour (maxInstallsPerHour)"
        return RolloutBlock(f"{used}; this hour's installs are used up", _hour_of(now) + _HOUR)

    def installs_in(self, hour: datetime) -> int:
        return self.installs if self.hour == hour else 0

    def installed(self, now: datetime) -> RolloutState:
        """One more install is requested."""
        hour = _hour_of(now)
        return replace(self, hour=hour, installs=self.installs_in(hour) + 1)

    def failed(self, row: Row, rollout_limit: RolloutLimit, now: datetime) -> RolloutState:
        """One more failure; it stops the policy if it reaches the limit."""
        failures = self.failures + 1
        limit = rollout_limit.failures_in_a_row
        stopped = now if limit is not None and failures >= limit else None
        because = cut(mask(f"{row.vm_name}: {row.reason}"))
        return replace(self, failures=failures, stopped_at=self.stopped_at or stopped, because=because)

    def recovered(self) -> RolloutState:
        """The state after a success, or after a person resumed the policy."""
        return replace(self, failures=0, stopped_at=None, because="")

    def __str__(self) -> str:
        if self.stopped_at is None:
            return f"policy {self.policy} is not stopped ({self.failures} failures in a row)"
        since = f"since {self.stopped_at:%Y-%m-%d %H:%M} UTC after {self.failures} failures in a row"
        fix = f'fix that, then: onboard policy resume "{self.policy}"'
        return f"policy {self.policy} is stopped {since}, the last on {self.because}; {fix}"

    def to_properties(self) -> dict[str, Any]:
        columns = {"Policy": self.policy, "Hour": self.hour, "Installs": self.installs, "Failures": self.failures}
        return {**columns, "Because": self.because, **({"StoppedAt": self.stopped_at} if self.stopped_at else {})}

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any]) -> RolloutState:
        return cls(
            policy=properties["Policy"],
            hour=properties["Hour"],
            installs=properties["Installs"],
            failures=properties["Failures"],
            stopped_at=properties.get("StoppedAt"),
            because=properties.get("Because", ""),
        )


ROLLOUT_COLUMNS = frozenset({"Policy", "Hour", "Installs", "Failures", "Because", "StoppedAt"})


def spread(until: datetime, vm: VmId) -> datetime:
    """The VM's own moment in the hour that begins then, so that not all VMs that wait come at once."""
    return until + timedelta(seconds=zlib.crc32(vm.key.encode()) % int(_HOUR.total_seconds()))


def _hour_of(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)
