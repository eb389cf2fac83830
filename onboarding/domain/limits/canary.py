"""The canary of a policy: a part of its machines that is changed first, and what became of them.

The others follow once the first success in the canary is old enough. If more canary machines have failed by then than
may, the policy stops until a person resumes it or changes its file.
"""

from collections.abc import Mapping
from copy import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct, field

from onboarding.domain.policy_digest import joined, parts, same_version
from onboarding.domain.reconcile.wait_schedule import Duration
from onboarding.domain.resource_id import VmId
from onboarding.domain.typed_file import FileMapping, Refused

_LONGEST = timedelta(days=14)


class Canary(FileMapping, frozen=True):
    """What `canary:` of a rollout limit says."""

    what: ClassVar[str] = "a canary"

    percent: Annotated[
        int,
        Meta(
            ge=1,
            le=99,
            description="The percentage of the policy's machines that is changed first.",
            extra={"is": "a whole number from 1 to 99", "fix": "write a number such as 5"},
        ),
    ]
    lasts: Annotated[Duration, Meta(description="How long after its first success the others follow.")] = field(
        name="for"
    )
    failures: Annotated[
        int,
        Meta(
            ge=0,
            description="How many of its machines may fail until then.",
            extra={"is": "a whole number", "fix": "write a number such as 0"},
        ),
    ] = 0

    def __post_init__(self) -> None:
        if self.time > _LONGEST:
            raise Refused("for", "a canary lasts at most 14 days", "write a shorter time, such as 24h")

    @property
    def time(self) -> timedelta:
        return timedelta(seconds=self.lasts)

    def __str__(self) -> str:
        hours = self.lasts / 3600
        first = f"{self.percent} % of its machines and the one that comes first are changed first"
        return f"{first}, the others {hours:g} h after the first success"

    def has(self, vm: VmId) -> bool:
        """Whether the machine is always one of the canary, whichever policy has one: by a digest of its id."""
        return int.from_bytes(sha256(vm.key.encode()).digest()[:8]) % 10_000 < self.percent * 100


class CanaryCounts(Struct, frozen=True):
    """What was counted of one canary. Times are UTC."""

    policy_hash: str = ""  # of the version of the policy that it tries; another version is another canary
    first: str = ""  # the key of the machine that came first: a small fleet may have no other canary machine
    first_at: datetime | None = None  # when that machine was let in
    installed: int = 0
    failures: int = 0
    since: datetime | None = None  # when the first of its machines succeeded
    stopped: bool = False  # its failures have stopped the policy

    def tries(self, policy_hash: str) -> bool:
        """Whether this is the canary of that version of the policy."""
        return self.policy_hash != "" and same_version(self.policy_hash, policy_hash)

    def is_over(self, canary: Canary, now: datetime) -> bool:
        """Whether the other machines may follow."""
        return self.since is not None and not self.stopped and self.since + canary.time <= now

    def counts(self, canary: Canary, vm: VmId) -> bool:
        """Whether the machine is one of the canary."""
        return canary.has(vm) or vm.key == self.first

    def admits(self, canary: Canary, vm: VmId, now: datetime) -> bool:
        """Whether the machine may be changed as one of the canary."""
        return self.counts(canary, vm) or self._lacks_first(canary, now)

    def admitted(self, canary: Canary, vm: VmId, now: datetime) -> "CanaryCounts":
        """The counts after the machine was let in."""
        return replace(self, first=vm.key, first_at=now) if self._lacks_first(canary, now) else self

    def _lacks_first(self, canary: Canary, now: datetime) -> bool:
        """Whether the next machine is the first: none came yet, or the one that came has not succeeded in time."""
        return self.since is None and (self.first_at is None or self.first_at + canary.time <= now)

    def opens_at(self, canary: Canary, now: datetime) -> datetime:
        """When the others may follow at the earliest."""
        return (self.since or self.first_at or now) + canary.time

    def with_success(self, now: datetime) -> "CanaryCounts":
        return replace(self, installed=self.installed + 1, since=self.since or now)

    def with_failure(self, canary: Canary) -> "CanaryCounts":
        failures = self.failures + 1
        return replace(self, failures=failures, stopped=self.stopped or failures > canary.failures)

    def again(self) -> "CanaryCounts":
        """The beginning of another canary with the same file, after a person resumed the policy."""
        return CanaryCounts(self.policy_hash)

    def __str__(self) -> str:
        since = f", the first at {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        return f"its canary: {self.installed} installed{since}, {self.failures} failed"

    def to_properties(self) -> dict[str, Any]:
        columns = {
            "CanaryPolicyHash": parts(self.policy_hash)[0],
            "CanaryEntryHash": parts(self.policy_hash)[1],
            "CanaryFirst": self.first,
            "CanaryFirstAt": self.first_at,
            "CanaryInstalled": self.installed,
            "CanaryFailures": self.failures,
            "CanarySince": self.since,
            "CanaryStopped": self.stopped,
        }
        return {name: value for name, value in columns.items() if value}

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any]) -> "CanaryCounts":
        """The counts of a row; of one that the version before wrote, those of no canary."""
        return cls(
            policy_hash=joined(properties.get("CanaryPolicyHash", ""), properties.get("CanaryEntryHash", "")),
            first=properties.get("CanaryFirst", ""),
            first_at=properties.get("CanaryFirstAt"),
            installed=properties.get("CanaryInstalled", 0),
            failures=properties.get("CanaryFailures", 0),
            since=properties.get("CanarySince"),
            stopped=properties.get("CanaryStopped", False),
        )


_COUNTED = ("PolicyHash", "EntryHash", "First", "FirstAt", "Installed", "Failures", "Since", "Stopped")
CANARY_COLUMNS = frozenset(f"Canary{name}" for name in _COUNTED)
