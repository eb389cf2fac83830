"""A problem that many VMs share: of their scope (a missing role, a deny policy, a lock), of the settings that are sent
(a wrong workspace), or of a resource that those settings name.

The first proof of such a problem opens a breaker: the VMs that it covers wait without asking ARM, one row says what to
fix, and a probe (one VM at a time) finds out whether it is fixed. Pure values; a conditional write decides who probes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from copy import replace
from datetime import datetime, timedelta
from typing import Any, Self

from msgspec import Struct

from onboarding.domain.failures.classification import Cause
from onboarding.domain.masking import cut, mask
from onboarding.domain.policy.conditions.external_values import places
from onboarding.domain.reconcile.decision import Problem, RetryState, Stop, Wait
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId

EVERYWHERE = "*"
_EARLY = timedelta(minutes=1)
_SHARES = 3600  # of an interval, over which the first checks of a fleet are spread
_SETTINGS = "="  # begins the place of a breaker for settings; no resource group's name may hold it
_WHOLE_SUBSCRIPTION = (Cause.SUBSCRIPTION_NOT_REGISTERED, Cause.SUBSCRIPTION_DISABLED)
_OF_LINKS = (Cause.NOT_AUTHORIZED, Cause.IDENTITY_REFUSED, Cause.BAD_REQUEST)
_LINKED_SUBSCRIPTION = re.compile(r"linked subscription '([0-9a-f-]{36})'")
# A week of probes are 46. Each costs two messages: the check of its claim, and the check for the next probe.
_PROBES = (
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=4),
)


class CircuitBreaker(Struct, frozen=True):
    """An open breaker for one extension. Times are UTC."""

    subscription: str  # in lower case; `*` for every subscription
    resource_group: str  # in lower case; `*` for all groups; `=` and a digest for all VMs that get those settings
    extension: str  # the catalogue entry's name
    cause: Cause  # of the first proof
    meaning: str  # one sentence for people
    advice: str  # what a person should do
    message: str  # what ARM or the handler wrote, masked and cut
    since: datetime  # when it opened
    next_probe_at: datetime  # from when one VM may send its request
    probes: int = 0  # probes so far
    prober: str = ""  # the key of the VM whose request proved the problem last: its check is the next probe

    def covers(self, vm: VmId, extension: str, settings: str) -> bool:
        """Whether a request for that extension of the VM, with settings of that digest, would meet the same problem."""
        place = self.resource_group in (EVERYWHERE, vm.resource_group.lower(), f"{_SETTINGS}{settings}")
        return place and self.extension == extension and self.subscription in (EVERYWHERE, vm.subscription.lower())

    def may_cover(self, vm: VmId, operation: str) -> bool:
        """Whether a request of that operation for the VM may meet the same problem, whatever it would send."""
        place = self.resource_group in (EVERYWHERE, vm.resource_group.lower()) or self.resource_group.startswith(
            _SETTINGS
        )
        return place and self.extension == operation and self.subscription in (EVERYWHERE, vm.subscription.lower())

    def closed_by(self, requested_at: datetime | None, *, installed: bool) -> bool:
        """Whether a success proves that the problem is over: its request must be later than the breaker. Wrong settings
        show only when the handler runs, so for them an accepted request is no proof."""
        proves = installed or self.cause is not Cause.BAD_CONFIGURATION
        return proves and requested_at is not None and requested_at > self.since

    @property
    def problem(self) -> Problem:
        """The problem as the row of a VM that waits says it. Its cause counts as unknown: it opens no other breaker."""
        return Problem(self.cause, Cause.UNKNOWN, self.meaning, self.advice, stored_cause=self.cause)

    def may_probe(self, vm: VmId, now: datetime) -> bool:
        """Whether the VM may send its request now. The VM that probes next may do so a little early, so that one check
        of it probes the breakers of several extensions."""
        early = _EARLY if vm.key == self.prober else timedelta()
        return now >= self.next_probe_at - early

    def probed(self, vm: VmId, now: datetime) -> CircuitBreaker:
        """The breaker with its next probe scheduled, as the worker that probes it with that VM now writes it."""
        rest = _PROBES[min(self.probes, len(_PROBES) - 1)]
        return replace(self, next_probe_at=now + rest, probes=self.probes + 1, prober=vm.key)

    def wait(self, vm: VmId, retry: RetryState) -> Wait | Stop:
        """The wait of a VM that this breaker covers; it ends as failed when the wait's cap is over."""
        later = retry.wait(WaitingFor.SCOPE_BREAKER, str(self), self.problem)
        if later is None:
            return Stop(Outcome.FAILED, f"gave up: {self}", self.problem)
        return self.hold(vm, later, retry)

    def hold(self, vm: VmId, wait: Wait, retry: RetryState) -> Wait:
        """The wait of a VM that this breaker covers, within the wait's cap.

        The VM that probes next is checked when its probe is due. Every other VM begins with one to two intervals, each
        its own share, so that the checks of a fleet are spread."""
        interval, until = wait.until - retry.now, wait.until
        if vm.key == self.prober and self.next_probe_at > retry.now:
            until = self.next_probe_at
        elif wait.since == retry.now:
            until += interval * (zlib.crc32(vm.key.encode()) % _SHARES / _SHARES)
        cap = wait.since + timedelta(seconds=retry.waits[wait.waiting_for].give_up_after)
        return replace(wait, until=min(until, cap) if cap > retry.now else until)

    def __str__(self) -> str:
        if self.resource_group.startswith(_SETTINGS):
            spread = " in every subscription" if self.subscription == EVERYWHERE else ""
            return f"a circuit breaker stops requests with these settings of {self.extension}{spread}: {self.meaning}"
        where = "the subscription" if self.resource_group == EVERYWHERE else f"resource group {self.resource_group}"
        return f"a circuit breaker stops requests for {self.extension} in {where}: {self.meaning}"

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
            "Prober": self.prober,
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
            prober=properties.get("Prober", ""),
        )


BREAKER_COLUMNS = frozenset(
    {
        "ResourceGroup",
        "Extension",
        "ErrorCode",
        "ErrorMeaning",
        "Advice",
        "Message",
        "Since",
        "NextAttemptAt",
        "Attempt",
        "Prober",
    }
)


def breaker_for(
    vm: VmId, extension: str, problem: Problem, settings: str, sent: Mapping[str, Any], now: datetime
) -> CircuitBreaker:
    """The breaker that a problem opens, keyed by what is at fault: a resource that the settings `sent` name, in every
    subscription; the settings, if the handler refused them; the subscription, if the cause is about it; else the
    resource group. `settings` is the digest of the settings that were sent."""
    subscription, place = vm.subscription.lower(), vm.resource_group.lower()
    if problem.cause in _OF_LINKS and _names_a_link(problem.message, sent, vm):
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
        prober=vm.key,
    )


def _names_a_link(message: str, sent: Mapping[str, Any], vm: VmId) -> bool:
    """Whether a refusal names a resource that the settings name, or the foreign subscription of one. A refusal that
    names a resource linked to the machine itself (its identity, its network) is about that machine alone."""
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
