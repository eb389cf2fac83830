"""Exemptions: scopes that a policy does not select, until a day or for good, with the reason that the table shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
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
    fix = "write `- {scope: …, category: …, reason: …}` lines"
    if not isinstance(raw, list):
        raise ConfigurationError(place, f"{as_written(raw)} is not a list of exemptions", fix)
    for index, item in enumerate(raw):
        if not isinstance(item, Mapping):
            raise ConfigurationError(f"{place}[{index}]", f"{as_written(item)} is not an exemption", fix)
        yield _exemption(item, f"{place}[{index}]")


def _exemption(item: Mapping[str, Any], place: str) -> Exemption:
    for key in item:
        if key not in KEYS:
            # A misspelt `expiresOn` would be an exemption for ever.
            raise unknown_key(f"{place}.{key}", key, "an exemption", KEYS)
    category = str(item.get("category", CATEGORIES[0]))
    if category not in CATEGORIES:
        fix = known_names("categories", CATEGORIES, category)
        raise ConfigurationError(f"{place}.category", f"unknown category {as_written(category)}", fix)
    expires_on = _expiry(item.get("expiresOn"), f"{place}.expiresOn")
    scope = parse_scope(item.get("scope"), f"{place}.scope")
    return Exemption(scope, category, str(item.get("reason", "no reason given")), expires_on)


def _expiry(value: object, place: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        problem = f"{as_written(value)} is not a date"
        raise ConfigurationError(place, problem, "write a date (UTC) such as 2027-01-01") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
