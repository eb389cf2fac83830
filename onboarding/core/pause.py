"""Trouble that is the scope's and not one VM's: a missing role, a deny policy, a lock, a wrong workspace key.

After the first proof the scope is paused: its VMs wait without asking ARM, one row says what to mend, and a probe (one
VM at a time) finds out whether it was. Pure values; who may probe is settled by a conditional write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from onboarding.core.decision import Trouble
from onboarding.core.failures import Cause
from onboarding.core.masking import cut, mask
from onboarding.core.resource_id import VmId

EVERYWHERE = "*"
_WHOLE_SUBSCRIPTION = (Cause.BAD_CONFIGURATION, Cause.SUBSCRIPTION_NOT_REGISTERED, Cause.SUBSCRIPTION_DISABLED)
_PROBES = (timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=30), timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Pause:
    """One paused scope: a resource group (or `*`, all of the subscription) for one extension. Times are UTC."""

    subscription: str
    resource_group: str
    extension: str
    cause: Cause
    meaning: str
    advice: str
    message: str
    since: datetime
    next_probe_at: datetime
    probes: int = 0

    def covers(self, vm: VmId, extension: str) -> bool:
        group = self.resource_group in (EVERYWHERE, vm.resource_group.lower())
        return group and self.extension == extension and self.subscription == vm.subscription.lower()

    @property
    def lifted_by_request(self) -> bool:
        """Whether an accepted request proves that the trouble is over; a wrong key shows only in the handler."""
        return self.cause is not Cause.BAD_CONFIGURATION

    @property
    def trouble(self) -> Trouble:
        return Trouble(self.cause, self.cause, self.meaning, self.advice)

    def probed(self, now: datetime) -> Self:
        """The pause with its next probe planned, as whoever probes now writes it."""
        rest = _PROBES[min(self.probes, len(_PROBES) - 1)]
        return replace(self, next_probe_at=now + rest, probes=self.probes + 1)

    def __str__(self) -> str:
        where = "the subscription" if self.resource_group == EVERYWHERE else f"resource group {self.resource_group}"
        return f"{where} is paused for {self.extension}: {self.meaning}"

    def to_properties(self) -> dict[str, Any]:
        return {
            "ResourceGroup": self.resource_group,
            "Extension": self.extension,
            "ErrorCode": self.cause.value,
            "ErrorMeaning": self.meaning,
            "Advice": self.advice,
            "Message": self.message,
            "Since": self.since,
            "NextAttemptAt": self.next_probe_at,
            "Attempt": self.probes,
        }

    @classmethod
    def from_properties(cls, subscription: str, properties: Mapping[str, Any]) -> Self:
        return cls(
            subscription=subscription,
            resource_group=properties["ResourceGroup"],
            extension=properties["Extension"],
            cause=Cause(properties["ErrorCode"]),
            meaning=properties.get("ErrorMeaning", ""),
            advice=properties.get("Advice", ""),
            message=properties.get("Message", ""),
            since=properties["Since"],
            next_probe_at=properties["NextAttemptAt"],
            probes=properties.get("Attempt", 0),
        )


def pause_for(vm: VmId, extension: str, trouble: Trouble, now: datetime) -> Pause:
    """The pause that a trouble calls for. Only what surely holds for all of a subscription pauses all of it."""
    whole = trouble.cause in _WHOLE_SUBSCRIPTION
    return Pause(
        subscription=vm.subscription.lower(),
        resource_group=EVERYWHERE if whole else vm.resource_group.lower(),
        extension=extension,
        cause=trouble.cause,
        meaning=trouble.meaning,
        advice=trouble.advice,
        message=cut(mask(trouble.message)),
        since=now,
        next_probe_at=now + _PROBES[0],
    )
