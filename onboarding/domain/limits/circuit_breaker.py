"""Trouble that is not one VM's: of its scope (a missing role, a deny policy, a lock), of the settings that are sent (a
wrong workspace), or of a resource that those settings point to.

After the first proof what is at fault is paused: its VMs wait without asking ARM, one row says what to mend, and a
probe (one VM at a time) finds out whether it was. Pure values; who may probe is settled by a conditional write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import replace
from datetime import datetime, timedelta
from typing import Any, Self

from msgspec import Struct

from onboarding.domain.failures.classification import Cause
from onboarding.domain.masking import cut, mask
from onboarding.domain.policy.conditions.external_values import places
from onboarding.domain.reconcile.decision import Problem
from onboarding.domain.resource_id import VmId

EVERYWHERE = "*"
_SETTINGS = "="  # begins the place of a pause for settings; no resource group's name may hold it
_WHOLE_SUBSCRIPTION = (Cause.SUBSCRIPTION_NOT_REGISTERED, Cause.SUBSCRIPTION_DISABLED)
_LINKED_SUBSCRIPTION = re.compile(r"linked subscription '([0-9a-f-]{36})'")
_PROBES = (timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=30), timedelta(hours=1))


class CircuitBreaker(Struct, frozen=True):
    """What is paused for one extension: a resource group, all of the subscription (`*`), or whoever would be sent the
    same settings (`=` and their digest), in one subscription or in all of them (`*`). Times are UTC."""

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

    def covers(self, vm: VmId, extension: str, settings: str) -> bool:
        """Whether a request for that extension of the VM, with settings of that digest, would meet the same trouble."""
        place = self.resource_group in (EVERYWHERE, vm.resource_group.lower(), f"{_SETTINGS}{settings}")
        return place and self.extension == extension and self.subscription in (EVERYWHERE, vm.subscription.lower())

    def closed_by(self, requested_at: datetime | None, *, installed: bool) -> bool:
        """Whether a success proves that the trouble is over: one that was asked for after it began. Wrong settings show
        in the handler alone, so that an accepted request says nothing of them."""
        proves = installed or self.cause is not Cause.BAD_CONFIGURATION
        return proves and requested_at is not None and requested_at > self.since

    @property
    def problem(self) -> Problem:
        return Problem(self.cause, self.cause, self.meaning, self.advice)

    def probed(self, now: datetime) -> CircuitBreaker:
        """The pause with its next probe planned, as whoever probes now writes it."""
        rest = _PROBES[min(self.probes, len(_PROBES) - 1)]
        return replace(self, next_probe_at=now + rest, probes=self.probes + 1)

    def __str__(self) -> str:
        if self.resource_group.startswith(_SETTINGS):
            spread = " in every subscription" if self.subscription == EVERYWHERE else ""
            return f"the settings that {self.extension} is sent are paused{spread}: {self.meaning}"
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


def breaker_for(
    vm: VmId, extension: str, problem: Problem, settings: str, sent: Mapping[str, Any], now: datetime
) -> CircuitBreaker:
    """The pause that a trouble calls for, keyed by what is at fault: a resource that the settings `sent` point to, in
    whatever subscription; the settings where the handler refused them; the subscription where that is
    surely the whole trouble; else the resource group. `settings` is the digest of those that were sent."""
    subscription, place = vm.subscription.lower(), vm.resource_group.lower()
    if problem.cause is Cause.NOT_AUTHORIZED and _names_a_link(problem.message, sent, vm):
        subscription, place = EVERYWHERE, f"{_SETTINGS}{settings}"
    elif problem.cause is Cause.BAD_CONFIGURATION:
        place = f"{_SETTINGS}{settings}"
    elif problem.cause in _WHOLE_SUBSCRIPTION:
        place = EVERYWHERE
    return CircuitBreaker(
        subscription=subscription,
        resource_group=place,
        extension=extension,
        cause=problem.cause,
        meaning=problem.meaning,
        advice=problem.advice,
        message=cut(mask(problem.message)),
        since=now,
        next_probe_at=now + _PROBES[0],
    )


def _names_a_link(message: str, sent: Mapping[str, Any], vm: VmId) -> bool:
    """Whether a refusal names a resource, or a foreign subscription of one, that the settings point to. A refusal that
    names a link of the machine's own (its identity, its network) is that machine's."""
    refused = message.lower()
    foreign = {each for each in _LINKED_SUBSCRIPTION.findall(refused) if each != vm.subscription.lower()}
    for link in _links(sent):
        if re.search(re.escape(link) + r"(?![\w.()/-])", refused) or link.split("/")[2] in foreign:
            return True
    return False


def _links(settings: Mapping[str, Any]) -> Iterator[str]:
    """The resource ids in settings, in lower case and without a trailing slash."""
    texts = (text.lower() for _, text in places(settings))
    return (text.strip().rstrip("/") for text in texts if text.startswith("/subscriptions/"))
