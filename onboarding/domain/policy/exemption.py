"""Exemptions: scopes that a policy does not select, until a day or for good, with the reason that the table shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.policy.scope import Scope, parse_scope
from onboarding.domain.resource_id import VmId

KEYS = ("scope", "category", "expiresOn", "reason")
CATEGORIES = ("Waiver", "Mitigated")


class Exemption(Struct, frozen=True):
    """A scope that a policy does not select."""

    scope: Scope
    category: str  # one of `CATEGORIES`
    reason: str  # for people
    expires_on: datetime | None  # when it ends (UTC); None for never

    def holds(self, vm: VmId, now: datetime) -> bool:
        return self.scope.contains(vm) and not self._over(now)

    def has_ended(self, vm: VmId, now: datetime) -> bool:
        return self.scope.contains(vm) and self._over(now)

    def _over(self, now: datetime) -> bool:
        return self.expires_on is not None and self.expires_on <= now

    def __str__(self) -> str:
        until = f" until {self.expires_on:%Y-%m-%d}" if self.expires_on else ""
        return f"{self.category}{until}: {self.reason}"


def parse_exemptions(raw: object, place: str) -> tuple[Exemption, ...]:
    """Read `exemptions:` of a policy file."""
    return tuple(_exemptions(raw, place))


def _exemptions(raw: object, place: str) -> Iterator[Exemption]:
    if raw is None:
        return
    if not isinstance(raw, list) or not all(isinstance(item, Mapping) for item in raw):
        raise ConfigurationError(place, "is not a list of exemptions", "write `- {scope: …, category: …, reason: …}`")
    for index, item in enumerate(raw):
        yield _exemption(item, f"{place}[{index}]")


def _exemption(item: Mapping[str, Any], place: str) -> Exemption:
    for key in item:
        if key not in KEYS:
            # A misspelt `expiresOn` would be an exemption for ever.
            raise ConfigurationError(f"{place}.{key}", "is no key of an exemption", f"use {', '.join(KEYS)}")
    category = str(item.get("category", CATEGORIES[0]))
    if category not in CATEGORIES:
        fix = f"use {' or '.join(CATEGORIES)}"
        raise ConfigurationError(f"{place}.category", f"{category!r} is no category", fix)
    expires_on = _expiry(item.get("expiresOn"), f"{place}.expiresOn")
    scope = parse_scope(item.get("scope"), f"{place}.scope")
    return Exemption(scope, category, str(item.get("reason", "no reason given")), expires_on)


def _expiry(value: object, place: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ConfigurationError(place, f"{value!r} is no date", "write it as 2027-01-01 (UTC)") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
