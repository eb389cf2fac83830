"""A person's stop of all writes to ARM: of everything, of one subscription, of one policy, or of one policy in one
subscription.

Reads and events go on, and rows whose request would be sent wait. A circuit breaker opens and closes by what ARM
answers; a pause begins and ends by what a person says. Pure values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from msgspec import Struct

from onboarding.domain.lazy_pattern import Pattern
from onboarding.domain.masking import cut, mask
from onboarding.domain.reconcile.decision import RetryState, Wait
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.resource_id import VmId, share_of

# How late a worker may know of the end of a pause. No check comes earlier, or it would find the pause still there.
KNOWN_AFTER = timedelta(seconds=15)
_SPREAD = timedelta(minutes=10)  # over which the checks of a fleet are spread when a pause ends by itself
_LONGEST_REASON = 500
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)
_OBJECT_ID = Pattern(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class Pause(Struct, frozen=True, kw_only=True):
    """One pause. Times are UTC."""

    reason: str  # what the person wrote, masked and cut
    since: datetime
    until: datetime | None = None  # when it ends by itself; None: a person has to end it
    subscription: str = ""  # in lower case; empty for all
    policy: str = ""  # the policy's name; empty for all
    by: str = ""  # the object id of the person, or of the application, in Microsoft Entra ID; empty if unknown

    def active(self, now: datetime) -> bool:
        """Whether it has not ended by itself."""
        return self.until is None or self.until > now

    def covers(self, subscription: str, policies: Collection[str]) -> bool:
        """Whether it holds back a write in that subscription that is for these policies."""
        return self.subscription in ("", subscription.lower()) and (not self.policy or self.policy in policies)

    @property
    def scope(self) -> tuple[str, str]:
        """What it covers. There is one pause of each scope."""
        return self.subscription, self.policy

    @property
    def covered(self) -> str:
        """What it covers, in words that name no subscription."""
        if not self.policy:
            return "one subscription" if self.subscription else "everything"
        return f"policy {self.policy}" + (" in one subscription" if self.subscription else "")

    def wait(self, vm: VmId, retry: RetryState) -> Wait:
        """The wait of a machine that it covers: until a moment soon after its end, and at most until the daily check.
        Each machine has its own share of some minutes, so that a fleet does not come at once."""
        share = share_of(_SPREAD, vm.key)
        wait = retry.wait_on(WaitingFor.PAUSED, str(self))
        daily = wait.until + share if wait.since == retry.now else wait.until
        end = max(self.until, retry.now) + KNOWN_AFTER + share if self.until else daily
        return replace(wait, until=min(daily, end))

    @property
    def place(self) -> str:
        """What it covers, in words."""
        if not self.policy:
            return f"subscription {self.subscription}" if self.subscription else "everything"
        return f"policy {self.policy}" + (f" in subscription {self.subscription}" if self.subscription else "")

    def __str__(self) -> str:
        until = f" until {_minute(self.until)}" if self.until else ""
        return f"{self.place} is paused since {_minute(self.since)}{until}: {self.reason}"

    def to_properties(self) -> dict[str, Any]:
        """The table's columns; empty ones are left out."""
        columns = {
            "Subscription": self.subscription,
            "Policy": self.policy,
            "Reason": cut(mask(self.reason), _LONGEST_REASON),
            "By": _object_id(self.by),
            "Since": self.since,
            "Until": self.until,
        }
        return {name: value for name, value in columns.items() if value not in (None, "")}

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any]) -> Self:
        """Read a stored pause back. Never raises: a column that is missing or cannot be read makes the pause wider or
        longer, so that nothing is sent that a person wanted to stop."""
        since, until = properties.get("Since"), properties.get("Until")
        return cls(
            reason=_text(properties, "Reason") or "no reason is written down",
            since=since if isinstance(since, datetime) else _UNKNOWN,
            until=until if isinstance(until, datetime) else None,
            subscription=_text(properties, "Subscription").lower(),
            policy=_text(properties, "Policy"),
            by=_object_id(_text(properties, "By")),
        )


PAUSE_COLUMNS = frozenset({"Subscription", "Policy", "Reason", "By", "Since", "Until"})


def covering(pauses: Iterable[Pause], subscription: str, policies: Collection[str], now: datetime) -> Pause | None:
    """The pause that holds back a write in that subscription for these policies; of several, the one that ends last.
    None if the write may go out."""
    found = [pause for pause in pauses if pause.active(now) and pause.covers(subscription, policies)]
    return max(found, key=lambda pause: (pause.until is None, pause.until or pause.since, pause.since), default=None)


def _object_id(text: str) -> str:
    """The text if it is an object id; empty for anything else, which may be a person's name."""
    return text.lower() if _OBJECT_ID.match(text.lower()) else ""


def _text(properties: Mapping[str, Any], name: str) -> str:
    value = properties.get(name)
    return value if isinstance(value, str) else ""


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
