"""Policies: which VMs must have which extension, and with which settings.

A policy file is checked as a whole when it is read, and every error names the file and the place in it. Selecting
is pure: VM facts in, one assignment per extension out, with the reason that the table shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from onboarding.core.errors import ConfigurationError
from onboarding.core.facts import MachineFacts
from onboarding.core.resource_id import VmId
from onboarding.core.scope import Scope, parse_scope
from onboarding.core.waits import Waits, parse_duration, parse_waits
from onboarding.core.workspace import Workspace, parse_switch, parse_workspaces

_KEYS = {
    "name",
    "effect",
    "extension",
    "scope",
    "notScopes",
    "rule",
    "parameters",
    "existenceCondition",
    "source",
    "settings",
    "protectedSettings",
    "supportTable",
    "exemptions",
    "waits",
    "settleDelay",
    "workspaces",
    "reconnect",
    "autoUpgradeMinorVersion",
}
_EXEMPTION_KEYS = ("scope", "category", "expiresOn", "reason")


class Effect(StrEnum):
    """Azure Policy's words."""

    DEPLOY = "deployIfNotExists"
    AUDIT = "auditIfNotExists"
    DISABLED = "disabled"


class Rule(Protocol):
    """A compiled condition: does the VM match, and which part of the rule decided?"""

    def decide(self, facts: MachineFacts, now: datetime) -> tuple[bool, str]: ...


class RuleCompiler(Protocol):
    def __call__(self, source: Mapping[str, Any], place: str, parameters: Mapping[str, Any]) -> Rule: ...


@dataclass(frozen=True, slots=True)
class Exemption:
    """A scope that a policy leaves alone until `expires_on` (UTC; never if None)."""

    scope: Scope
    category: str
    reason: str
    expires_on: datetime | None

    def holds(self, vm: VmId, now: datetime) -> bool:
        return self.scope.contains(vm) and (self.expires_on is None or now < self.expires_on)

    def __str__(self) -> str:
        until = f" until {self.expires_on:%Y-%m-%d}" if self.expires_on else ""
        return f"{self.category}{until}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy file. `settings` may hold `{NAME}`, which stands for an app setting; `settle_delay` is how long a
    new VM is left to its owner's own first-boot installs."""

    name: str
    effect: Effect
    extension: str
    scopes: tuple[Scope, ...]
    not_scopes: tuple[Scope, ...]
    rule: Rule | None
    settings: Mapping[str, Any]
    protected_settings: Mapping[str, str]
    support_table: str
    exemptions: tuple[Exemption, ...]
    waits: Waits
    settle_delay: timedelta
    workspaces: tuple[Workspace, ...] = ()
    reconnect: bool = False  # whether a VM that reports to another workspace is moved to ours
    auto_upgrade_minor_version: bool | None = None  # None: as the catalogue has it

    def in_scope(self, vm: VmId) -> bool:
        inside = not self.scopes or any(scope.contains(vm) for scope in self.scopes)
        return inside and not any(scope.contains(vm) for scope in self.not_scopes)

    def select(self, facts: MachineFacts, now: datetime) -> Assignment:
        """Whether this policy wants its extension on the VM; the order is from the coarse to the fine."""
        if self.effect is Effect.DISABLED:
            return Assignment(self, False, f"policy {self.name} is disabled", nearness=0)
        if not self.in_scope(facts.id):
            return Assignment(self, False, f"outside the scope of policy {self.name}", nearness=1)
        for exemption in self.exemptions:
            if exemption.holds(facts.id, now):
                return Assignment(self, False, f"exempt from policy {self.name} ({exemption})", nearness=3)
        if self.rule is not None:
            matched, why = self.rule.decide(facts, now)
            if not matched:
                return Assignment(self, False, f"the rule of policy {self.name} leaves it out: {why}", nearness=2)
        return Assignment(self, True, f"policy {self.name} selects it", nearness=4)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one policy says of one VM. `nearness` orders refusals: how far the VM came before it was left out."""

    policy: Policy
    selected: bool
    reason: str
    nearness: int


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies, in the order of their files' names: the first that selects a VM decides for its extension."""

    policies: tuple[Policy, ...]

    def assign(self, facts: MachineFacts, now: datetime) -> tuple[Assignment, ...]:
        """One assignment per extension that any policy names."""
        by_extension: dict[str, Assignment] = {}
        for policy in self.policies:
            said = policy.select(facts, now)
            best = by_extension.get(policy.extension)
            if best is None or (not best.selected and said.nearness > best.nearness):
                by_extension[policy.extension] = said
        return tuple(by_extension.values())

    def for_unread(self, vm: VmId) -> tuple[Policy, ...]:
        """The policies that could want something of a VM of which only the id is known; one per extension."""
        wanted = {p.extension: p for p in reversed(self.policies) if p.effect is not Effect.DISABLED and p.in_scope(vm)}
        return tuple(wanted.values())


def parse_policy(raw: object, place: str, compile_rule: RuleCompiler) -> Policy:
    """Read one policy file; `place` is its name, for errors."""
    if not isinstance(raw, Mapping):
        raise ConfigurationError(place, "is not a policy", "write a mapping with name, effect and extension")
    for key in raw:
        if key not in _KEYS:
            raise ConfigurationError(f"{place}: {key}", "is no key of a policy", f"use {', '.join(sorted(_KEYS))}")
    for key in ("name", "extension"):
        if not isinstance(raw.get(key), str) or not raw[key]:
            raise ConfigurationError(f"{place}: {key}", "is missing", "add it as a text")
    parameters = _mapping(raw, "parameters", place)
    rule = raw.get("rule")
    return Policy(
        name=raw["name"],
        effect=_effect(raw.get("effect", Effect.DEPLOY), f"{place}: effect"),
        extension=raw["extension"],
        scopes=_scopes(raw, "scope", place),
        not_scopes=_scopes(raw, "notScopes", place),
        rule=None if rule is None else compile_rule(_mapping(raw, "rule", place), f"{place}: rule", parameters),
        settings=_mapping(raw, "settings", place),
        protected_settings=_mapping(raw, "protectedSettings", place),
        support_table=str(raw.get("supportTable") or ""),
        exemptions=tuple(_exemptions(raw.get("exemptions"), f"{place}: exemptions")),
        waits=parse_waits(raw.get("waits"), f"{place}: waits"),
        settle_delay=_settle_delay(raw.get("settleDelay"), f"{place}: settleDelay"),
        workspaces=parse_workspaces(
            raw.get("workspaces"),
            f"{place}: workspaces",
            lambda source, here: compile_rule(source, here, parameters),
        ),
        reconnect=parse_switch(raw.get("reconnect"), f"{place}: reconnect") or False,
        auto_upgrade_minor_version=parse_switch(
            raw.get("autoUpgradeMinorVersion"), f"{place}: autoUpgradeMinorVersion"
        ),
    )


def _effect(value: object, place: str) -> Effect:
    for effect in Effect:
        if str(value).lower() == effect.lower():
            return effect
    raise ConfigurationError(place, f"{value!r} is no effect", f"use one of {', '.join(Effect)}")


def _settle_delay(value: object, place: str) -> timedelta:
    return timedelta(seconds=parse_duration(value, place)) if value else timedelta()


def _scopes(raw: Mapping[str, Any], key: str, place: str) -> tuple[Scope, ...]:
    value = raw.get(key)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(parse_scope(item, f"{place}: {key}[{index}]") for index, item in enumerate(listed))


def _mapping(raw: Mapping[str, Any], key: str, place: str) -> Mapping[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{place}: {key}", "is not a mapping", "write it as `key: value` lines")
    return value


def _exemptions(raw: object, place: str) -> Iterable[Exemption]:
    if raw is None:
        return
    if not isinstance(raw, list) or not all(isinstance(item, Mapping) for item in raw):
        raise ConfigurationError(place, "is not a list of exemptions", "write `- {scope: …, category: …, reason: …}`")
    for index, item in enumerate(raw):
        here = f"{place}[{index}]"
        for key in item:
            if key not in _EXEMPTION_KEYS:
                # A misspelt `expiresOn` would be an exemption for ever.
                mend = f"use {', '.join(_EXEMPTION_KEYS)}"
                raise ConfigurationError(f"{here}.{key}", "is no key of an exemption", mend)
        category = str(item.get("category", "Waiver"))
        if category not in ("Waiver", "Mitigated"):
            raise ConfigurationError(f"{here}.category", f"{category!r} is no category", "use Waiver or Mitigated")
        expires_on = _expiry(item.get("expiresOn"), f"{here}.expiresOn")
        scope = parse_scope(item.get("scope"), f"{here}.scope")
        yield Exemption(scope, category, str(item.get("reason", "no reason given")), expires_on)


def _expiry(value: object, place: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ConfigurationError(place, f"{value!r} is no date", "write it as 2027-01-01 (UTC)") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
