"""Policies: which VMs must have which extension, and with which settings.

A policy file is checked as a whole when it is read, and every error names the file and the place in it. Selecting is
pure: from VM facts to one assignment for each extension, with the reason that the table shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Protocol

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
from onboarding.domain.json_access import digest
from onboarding.domain.limits.rollout_limit import RolloutLimit, parse_rollout_limit
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.machine.managed_machines import Managed, ManagedKinds, parse_included
from onboarding.domain.policy.conditions import Explanation
from onboarding.domain.policy.conditions.external_values import is_call, places
from onboarding.domain.policy.exemption import Exemption, parse_exemptions
from onboarding.domain.policy.rule import Match
from onboarding.domain.policy.scope import Scope, parse_scope
from onboarding.domain.policy.workspaces import Workspace, choose, mapping_at, parse_switch, parse_workspaces
from onboarding.domain.reconcile.wait_schedule import Waits, parse_duration, parse_waits
from onboarding.domain.resource_id import VmId

KEYS = {
    "name",
    "effect",
    "extension",
    "scope",
    "notScopes",
    "includeManaged",
    "rule",
    "parameters",
    "existenceCondition",
    "azurePolicy",
    "brake",
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
_REFERENCE = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_AZURE_POLICY = re.compile(r"/providers/microsoft\.authorization/policy(definitions|assignments)/[^/]+$", re.IGNORECASE)


class Effect(StrEnum):
    """What a policy does, in Azure Policy's words."""

    DEPLOY = "deployIfNotExists"  # install
    AUDIT = "auditIfNotExists"  # only say what would be installed
    DISABLED = "disabled"


class Rule(Protocol):
    """A compiled condition."""

    def decide(self, facts: MachineFacts, now: datetime) -> Match:
        """Whether it holds for the VM."""

    def decide_extension(self, facts: MachineFacts, name: str, now: datetime) -> Match:
        """Whether it holds for the VM's extension of that name."""

    def explain(self, facts: MachineFacts, now: datetime) -> Explanation:
        """The whole condition for the VM, with the value of each part."""

    def explain_extension(self, facts: MachineFacts, name: str, now: datetime) -> Explanation | None:
        """The same for an extension; None if the VM's body has none of that name."""


class RuleCompiler(Protocol):
    def __call__(self, source: Mapping[str, Any], place: str, parameters: Mapping[str, Any]) -> Rule: ...


class Policy(Struct, frozen=True):
    """One policy file."""

    name: str
    effect: Effect
    extension: str  # the catalogue entry's name
    scopes: tuple[Scope, ...]  # empty for everywhere
    not_scopes: tuple[Scope, ...]
    kinds: ManagedKinds  # all kinds of managed machine
    include_managed: frozenset[str]  # the names of the kinds that it selects too
    rule: Rule | None  # which VMs it selects; None for all
    existence: Rule | None  # when an installed extension meets the policy; None for always
    settings: Mapping[str, Any]  # with templates: `{NAME}`, `{machine.id}`
    protected_settings: Mapping[str, Any]  # the same
    support_table: str  # the name of the table; empty for the catalogue entry's default
    exemptions: tuple[Exemption, ...]
    waits: Waits
    settle_delay: timedelta  # how long a new VM has for its owner's first-boot installs; zero for none
    workspaces: tuple[Workspace, ...] = ()  # empty if its own settings name the only one
    reconnect: bool = False  # whether a VM that reports to another workspace is moved to ours
    rollout_limit: RolloutLimit | None = None  # None for no limit
    azure_policy: frozenset[str] = frozenset()  # ids of Azure Policy's definitions and assignments, in lower case
    auto_upgrade_minor_version: bool | None = None  # None for the catalogue entry's
    digest: str = ""  # of the file's content, without secret values: it changes when the policy changes

    def in_scope(self, vm: VmId) -> bool:
        inside = not self.scopes or any(scope.contains(vm) for scope in self.scopes)
        return inside and not any(scope.contains(vm) for scope in self.not_scopes)

    def select(
        self, facts: MachineFacts, now: datetime, recognise: Callable[[ManagedKinds], Managed | None] | None = None
    ) -> Assignment:
        """Whether this policy selects the VM for its extension; the coarse checks come first. A caller with several
        policies passes `recognise`, so that the kind of managed machine is found once for all of them."""
        if self.effect is Effect.DISABLED:
            return Assignment(self, False, f"policy {self.name} is disabled", checks_passed=0)
        if not self.in_scope(facts.id):
            return Assignment(self, False, f"outside the scope of policy {self.name}", checks_passed=1)
        managed = recognise(self.kinds) if recognise else self.kinds.recognise(facts)
        if managed and managed.kind not in self.include_managed:
            fix = f"includeManaged: [{managed.kind}] would include it"
            reason = f"policy {self.name} excludes it: {managed.reason}; {fix}"
            return Assignment(self, False, reason, checks_passed=2)
        for exemption in self.exemptions:
            if exemption.holds(facts.id, now):
                return Assignment(self, False, f"exempt from policy {self.name} ({exemption})", checks_passed=4)
        if self.rule is not None:
            match = self.rule.decide(facts, now)
            if match.holds is None:
                return self._undecided("rule", match)
            if not match.holds:
                reason = f"the rule of policy {self.name} does not match it: {match.why}"
                return Assignment(self, False, reason, checks_passed=3)
        _, unclear = choose(self.workspaces, facts, now)
        if unclear is not None:
            return self._undecided("choice of workspaces", unclear)
        if (unclear := self._existence_unclear(facts, now)) is not None:
            return self._undecided("existenceCondition", unclear)
        reason = f"policy {self.name} selects it{self._once_exempt(facts.id, now)}"
        return Assignment(self, True, reason, checks_passed=5)

    def _undecided(self, what: str, match: Match) -> Assignment:
        reason = f"the {what} of policy {self.name} cannot be decided: {match.why}"
        return Assignment(self, False, reason, checks_passed=5, undecided=True, unread=match.unread)

    def _existence_unclear(self, facts: MachineFacts, now: datetime) -> Match | None:
        """Why it is undecided whether any extension meets the policy; None if it is decided. One is enough."""
        if self.existence is None:
            return None
        matches = [self.existence.decide_extension(facts, extension.name, now) for extension in facts.extensions]
        if any(match.holds for match in matches):
            return None
        return next((match for match in matches if match.holds is None), None)

    def _once_exempt(self, vm: VmId, now: datetime) -> str:
        ended = [str(exemption) for exemption in self.exemptions if exemption.has_ended(vm, now)]
        return f"; its exemption has ended ({', '.join(ended)})" if ended else ""


class Assignment(Struct, frozen=True):
    """Whether one policy selects one VM, and why."""

    policy: Policy
    selected: bool
    reason: str  # for people
    checks_passed: int  # 0 to 5; of several refusals the one with the most checks passed is shown
    undecided: bool = False  # a value is unknown, so it is unknown whether the policy selects the VM
    unread: str = ""  # if undecided: what reading may decide it, as in `Match`


class PolicySet(Struct, frozen=True):
    """All policies, in the order of their files' names. The first that selects a VM, or is undecided about it, decides
    for its extension: a later policy must not overrule what an undecided one may want."""

    policies: tuple[Policy, ...]

    def assign(self, facts: MachineFacts, now: datetime) -> tuple[Assignment, ...]:
        """One assignment for each extension that any policy names."""
        by_extension: dict[str, Assignment] = {}

        @cache  # once for all policies, and not for those out of scope
        def recognise(kinds: ManagedKinds) -> Managed | None:
            return kinds.recognise(facts)

        for policy in self.policies:
            assignment = policy.select(facts, now, recognise)
            best = by_extension.get(policy.extension)
            if best is None or (not best.selected and assignment.checks_passed > best.checks_passed):
                by_extension[policy.extension] = assignment
        return tuple(by_extension.values())

    def for_finding(self, *ids: str) -> frozenset[str] | None:
        """The names of the policies that belong to a finding of Azure Policy, by the ids of its definition and
        assignment; None if no policy names such ids, so that the finding may be about any policy."""
        if not any(policy.azure_policy for policy in self.policies):
            return None
        return frozenset(policy.name for policy in self.policies if policy.azure_policy.intersection(ids))

    def reaching(self, vm: VmId) -> tuple[Policy, ...]:
        """The policies that could select a VM of which only the id is known."""
        return tuple(p for p in self.policies if p.effect is not Effect.DISABLED and p.in_scope(vm))

    def for_unread(self, vm: VmId) -> tuple[Policy, ...]:
        """The first of these policies for each extension."""
        return tuple({policy.extension: policy for policy in reversed(self.reaching(vm))}.values())


def parse_policy(raw: object, place: str, compile_rule: RuleCompiler, kinds: ManagedKinds) -> Policy:
    """Read one policy file; `place` is its name, for errors."""
    if not isinstance(raw, Mapping):
        problem = f"{as_written(raw)} is not a policy"
        raise ConfigurationError(place, problem, "write a mapping with the keys name, effect and extension")
    owner = policy_called(raw.get("name"))
    for key in raw:
        if key not in KEYS:
            raise unknown_key(f"{place}: {key}", key, owner, sorted(KEYS))
    for key in ("name", "extension"):
        if (value := raw.get(key)) is None or value == "":
            raise ConfigurationError(f"{place}: {key}", f"missing key '{key}' in {owner}", f"add `{key}:` and a text")
        if not isinstance(value, str):
            raise ConfigurationError(f"{place}: {key}", f"{as_written(value)} is not a text", "put it in quotes")
    parameters = _parameters(raw, place)

    def condition(key: str) -> Rule | None:
        return (
            None
            if raw.get(key) is None
            else compile_rule(mapping_at(raw, key, f"{place}: {key}"), f"{place}: {key}", parameters)
        )

    return Policy(
        name=raw["name"],
        effect=_effect(raw.get("effect", Effect.DEPLOY), f"{place}: effect"),
        extension=raw["extension"],
        scopes=_scopes(raw, "scope", place),
        not_scopes=_scopes(raw, "notScopes", place),
        kinds=kinds,
        include_managed=parse_included(raw.get("includeManaged"), f"{place}: includeManaged", kinds),
        rule=condition("rule"),
        existence=condition("existenceCondition"),
        settings=mapping_at(raw, "settings", f"{place}: settings"),
        protected_settings=mapping_at(raw, "protectedSettings", f"{place}: protectedSettings"),
        support_table=str(raw.get("supportTable") or ""),
        exemptions=parse_exemptions(raw.get("exemptions"), f"{place}: exemptions"),
        waits=parse_waits(raw.get("waits"), f"{place}: waits"),
        settle_delay=_settle_delay(raw.get("settleDelay"), f"{place}: settleDelay"),
        workspaces=parse_workspaces(
            raw.get("workspaces"),
            f"{place}: workspaces",
            lambda source, here: compile_rule(source, here, parameters),
        ),
        rollout_limit=parse_rollout_limit(raw.get("brake"), f"{place}: brake"),
        azure_policy=_azure_policy(raw, place),
        reconnect=parse_switch(raw.get("reconnect"), f"{place}: reconnect") or False,
        auto_upgrade_minor_version=parse_switch(
            raw.get("autoUpgradeMinorVersion"), f"{place}: autoUpgradeMinorVersion"
        ),
        digest=_digest(raw),
    )


def policy_called(name: object) -> str:
    """What error texts call a policy that may have no usable name."""
    return f"policy {name[:80]}" if isinstance(name, str) and name and name.isprintable() else "the policy"


def _parameters(raw: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """The parameters. They are values that are not computed: an expression would be compared as its text."""
    parameters = mapping_at(raw, "parameters", f"{place}: parameters")
    for where, text in places(parameters, f"{place}: parameters"):
        if is_call(text):
            raise ConfigurationError(
                where,
                f"{as_written(text, 200)} is an expression, and a parameter is a plain value",
                "write the expression in the rule",
            )
    return parameters


def _digest(raw: Mapping[str, Any]) -> str:
    """A digest of the content, the same for any order of keys, any comments and any format."""
    return digest(_canonical(raw))


def _canonical(value: object, *, secret: bool = False) -> Any:
    """The value as JSON. A secret setting counts only by its name and the app setting that it refers to."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(each, secret=secret or key == "protectedSettings") for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(each, secret=secret) for each in value]
    if secret:
        return value if isinstance(value, str) and _REFERENCE.fullmatch(value) else "***"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _azure_policy(raw: Mapping[str, Any], place: str) -> frozenset[str]:
    value = raw.get("azurePolicy")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    for index, each in enumerate(ids):
        if not isinstance(each, str) or not _AZURE_POLICY.search(each):
            fix = "write its id, …/providers/Microsoft.Authorization/policyDefinitions/…"
            problem = f"{as_written(each)} is not the id of an Azure Policy definition or assignment"
            raise ConfigurationError(f"{place}: azurePolicy[{index}]", problem, fix)
    return frozenset(each.lower() for each in ids)


def _effect(value: object, place: str) -> Effect:
    for effect in Effect:
        if str(value).lower() == effect.lower():
            return effect
    raise ConfigurationError(place, f"unknown effect {as_written(value)}", known_names("effects", Effect, value))


def _settle_delay(value: object, place: str) -> timedelta:
    return timedelta(seconds=parse_duration(value, place)) if value else timedelta()


def _scopes(raw: Mapping[str, Any], key: str, place: str) -> tuple[Scope, ...]:
    value = raw.get(key)
    if value is None and key in raw:
        fix = "leave the key out to mean every VM" if key == "scope" else "leave the key out"
        raise ConfigurationError(f"{place}: {key}", f"key '{key}' has no value", f"write a scope, or {fix}")
    listed = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(parse_scope(item, f"{place}: {key}[{index}]") for index, item in enumerate(listed))
