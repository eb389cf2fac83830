"""Pauses and limits: what holds requests back (pauses, open circuit breakers, rollout limits), and what is exempt,
until when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import batched

from onboarding.application.pause_requests import PauseRequests
from onboarding.application.ports import BreakerStore
from onboarding.application.row_queries import stored_subscriptions
from onboarding.domain.json_access import stamp
from onboarding.domain.limits.circuit_breaker import EVERYWHERE, CircuitBreaker
from onboarding.domain.limits.rollout_limit import RolloutState
from onboarding.domain.policy.policy import Policy
from onboarding.web.site import Data, Site

SOON = timedelta(days=14)
_AT_ONCE = 16  # subscriptions whose breakers are read concurrently


async def data(site: Site) -> Data:
    subscriptions = [each async for each in stored_subscriptions(site.reader)]
    pauses = await PauseRequests(site.ports.pauses, site.ports.clock).active()
    counted = {state.policy: state for state in await site.ports.rollouts.read_all()}
    exemptions = [each for policy in site.rules.policies.policies for each in _exemptions(policy, site.now)]
    return {
        "pauses": [
            {
                "place": pause.place,
                "subscription": pause.subscription,
                "policy": pause.policy,
                "since": stamp(pause.since),
                "until": stamp(pause.until),
                "reason": pause.reason,
                "by": pause.by,
            }
            for pause in pauses
        ],
        "breakers": [_breaker(each) for each in await open_breakers(site.ports.breakers, subscriptions)],
        "rollouts": [
            rollout_record(policy, counted.get(policy.name), site.now)
            for policy in site.rules.policies.policies
            if policy.rollout_limit is not None
        ],
        "exemptions": sorted(exemptions, key=lambda each: each["expiresOn"] or "9999"),
        "subscriptions": subscriptions,
        "policies": [policy.name for policy in site.rules.policies.policies],
    }


async def open_breakers(store: BreakerStore, subscriptions: Sequence[str]) -> list[CircuitBreaker]:
    """The open breakers of these subscriptions, and those of all. Raises StorageError."""
    found: list[CircuitBreaker] = []
    for some in batched((EVERYWHERE, *subscriptions), _AT_ONCE, strict=False):
        for read in await asyncio.gather(*(store.read(each) for each in some)):
            found += [stored.breaker for stored in read]
    return found


def _breaker(breaker: CircuitBreaker) -> Data:
    everywhere = breaker.subscription == EVERYWHERE
    return {
        "what": str(breaker),
        "subscription": "" if everywhere else breaker.subscription,
        "resourceGroup": breaker.resource_group if breaker.resource_group.isprintable() else "",
        "extension": breaker.extension,
        "cause": breaker.cause.value,
        "advice": breaker.advice,
        "message": breaker.message,
        "since": stamp(breaker.since),
        "nextProbe": stamp(breaker.next_probe_at),
        "probes": breaker.probes,
        "prober": breaker.prober,
    }


def rollout_record(policy: Policy, counted: RolloutState | None, now: datetime) -> Data:
    """A policy's rollout limit, and how much of it is used; None: nothing was counted yet."""
    limit, state = policy.rollout_limit, counted or RolloutState(policy.name)
    hour = now.replace(minute=0, second=0, microsecond=0)
    return {
        "policy": policy.name,
        "installsPerHour": limit.installs_per_hour if limit else None,
        "installsThisHour": state.installs_in(hour),
        "failuresInARow": state.failures,
        "stopAfterFailures": limit.failures_in_a_row if limit else None,
        "canary": str(limit.canary) if limit and limit.canary else "",
        "stoppedAt": stamp(state.stopped_at),
        "because": state.because,
    }


def _exemptions(policy: Policy, now: datetime) -> list[Data]:
    return [
        {
            "policy": policy.name,
            "scope": str(each.scope),
            "category": each.category.value,
            "reason": each.reason or "",
            "expiresOn": stamp(each.expires_on),
            "ended": each.expires_on is not None and each.expires_on <= now,
            "endsSoon": each.expires_on is not None and now < each.expires_on <= now + SOON,
        }
        for each in policy.exemptions
    ]
