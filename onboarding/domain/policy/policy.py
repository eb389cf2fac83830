"""Policies: which VMs must have which extension, and with which settings.

A policy file is checked as a whole when it is read, and every error names the file and the place in it. Selecting
is pure: VM facts in, one assignment per extension out, with the reason that the table shows.
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
from onboarding.domain.policy.workspaces import Workspace, choose, parse_switch, parse_workspaces
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
    """Azure Policy's words."""

    DEPLOY = "deployIfNotExists"
    AUDIT = "auditIfNotExists"
    DISABLED = "disabled"


class Rule(Protocol):
    """A compiled condition: does it hold, and which part of it decided?"""

    def decide(self, facts: MachineFacts, now: datetime) -> Match:
        """For the VM."""

    def decide_extension(self, facts: MachineFacts, name: str, now: datetime) -> Match:
        """For the VM's extension of that name."""

    def explain(self, facts: MachineFacts, now: datetime) -> Explanation:
        """The whole condition, for the VM, with the value that each part found."""

    def explain_extension(self, facts: MachineFacts, name: str, now: datetime) -> Explanation | None:
        """The same for an extension; None if the VM's body has none of that name."""


class RuleCompiler(Protocol):
    def __call__(self, source: Mapping[str, Any], place: str, parameters: Mapping[str, Any]) -> Rule: ...


class Policy(Struct, frozen=True):
    """One policy file. `existence` says when an extension that is there is as it should be; `settings` may hold
    `{NAME}`, which stands for an app setting; `settle_delay` is how long a new VM is left to its owner's own
    first-boot installs."""

    name: str
    effect: Effect
    extension: str
    scopes: tuple[Scope, ...]
    not_scopes: tuple[Scope, ...]
    kinds: ManagedKinds  # the kinds of managed machine that there are, which it leaves alone
    include_managed: frozenset[str]  # the names of those that it takes in
    rule: Rule | None
    existence: Rule | None
    settings: Mapping[str, Any]
    protected_settings: Mapping[str, str]
    support_table: str
    exemptions: tuple[Exemption, ...]
    waits: Waits
    settle_delay: timedelta
    workspaces: tuple[Workspace, ...] = ()
    reconnect: bool = False  # whether a VM that reports to another workspace is moved to ours
    rollout_limit: RolloutLimit | None = None
    azure_policy: frozenset[str] = frozenset()  # ids of Azure Policy's definitions and assignments, lower case
    auto_upgrade_minor_version: bool | None = None  # None: as the catalogue has it
    digest: str = ""  # of the file's content, without secret values: another one is another policy

    def in_scope(self, vm: VmId) -> bool:
        inside = not self.scopes or any(scope.contains(vm) for scope in self.scopes)
        return inside and not any(scope.contains(vm) for scope in self.not_scopes)

    def select(
        self, facts: MachineFacts, now: datetime, recognise: Callable[[ManagedKinds], Managed | None] | None = None
    ) -> Assignment:
        """Whether this policy wants its extension on the VM; the order is from the coarse to the fine. Who asks several
        policies says by `recognise` what kind of managed machine it is, so that not each of them has to find out."""
        if self.effect is Effect.DISABLED:
            return Assignment(self, False, f"policy {self.name} is disabled", nearness=0)
        if not self.in_scope(facts.id):
            return Assignment(self, False, f"outside the scope of policy {self.name}", nearness=1)
        managed = recognise(self.kinds) if recognise else self.kinds.recognise(facts)
        if managed and managed.kind not in self.include_managed:
            way = f"includeManaged: [{managed.kind}] would take it in"
            return Assignment(self, False, f"policy {self.name} leaves it alone: {managed.reason}; {way}", nearness=2)
        for exemption in self.exemptions:
            if exemption.holds(facts.id, now):
                return Assignment(self, False, f"exempt from policy {self.name} ({exemption})", nearness=4)
        if self.rule is not None:
            match = self.rule.decide(facts, now)
            if match.holds is None:
                return self._undecided("rule", match)
            if not match.holds:
                return Assignment(self, False, f"the rule of policy {self.name} leaves it out: {match.why}", nearness=3)
        _, unclear = choose(self.workspaces, facts, now)
        if unclear is not None:
            return self._undecided("choice of workspaces", unclear)
        if (unclear := self._existence_unclear(facts, now)) is not None:
            return self._undecided("existenceCondition", unclear)
        return Assignment(self, True, f"policy {self.name} selects it{self._once_exempt(facts.id, now)}", nearness=5)

    def _undecided(self, what: str, match: Match) -> Assignment:
        reason = f"the {what} of policy {self.name} cannot be decided: {match.why}"
        return Assignment(self, False, reason, nearness=5, undecided=True, unread=match.unread)

    def _existence_unclear(self, facts: MachineFacts, now: datetime) -> Match | None:
        """Why it is not clear whether any extension is as it should be: one is enough."""
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
    """What one policy says of one VM. `nearness` orders refusals: how far the VM came before it was left out.
    `undecided`: nobody can tell whether it is selected, and `unread` is what would have to be read, as in `Match`."""

    policy: Policy
    selected: bool
    reason: str
    nearness: int
    undecided: bool = False
    unread: str = ""


class PolicySet(Struct, frozen=True):
    """All policies, in the order of their files' names: the first that selects a VM decides for its extension. One of
    which that is not known decides as well, since no other may say what that one might."""

    policies: tuple[Policy, ...]

    def assign(self, facts: MachineFacts, now: datetime) -> tuple[Assignment, ...]:
        """One assignment per extension that any policy names."""
        by_extension: dict[str, Assignment] = {}

        @cache  # once for all policies, and not for those out of scope
        def recognise(kinds: ManagedKinds) -> Managed | None:
            return kinds.recognise(facts)

        for policy in self.policies:
            said = policy.select(facts, now, recognise)
            best = by_extension.get(policy.extension)
            if best is None or (not best.selected and said.nearness > best.nearness):
                by_extension[policy.extension] = said
        return tuple(by_extension.values())

    def for_finding(self, *ids: str) -> frozenset[str] | None:
        """The names of the policies that stand for what Azure Policy found, which ids of its definition and assignment
        name; None where no policy says what it stands for, and so each may be meant."""
        if not any(policy.azure_policy for policy in self.policies):
            return None
        return frozenset(policy.name for policy in self.policies if policy.azure_policy.intersection(ids))

    def reaching(self, vm: VmId) -> tuple[Policy, ...]:
        """The policies that could want something of a VM of which only the id is known."""
        return tuple(p for p in self.policies if p.effect is not Effect.DISABLED and p.in_scope(vm))

    def for_unread(self, vm: VmId) -> tuple[Policy, ...]:
        """The same, one for each extension: the first."""
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
        return None if raw.get(key) is None else compile_rule(_mapping(raw, key, place), f"{place}: {key}", parameters)

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
        settings=_mapping(raw, "settings", place),
        protected_settings=_mapping(raw, "protectedSettings", place),
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
    """Values, which nothing works out: an expression would be compared as the text that it is."""
    parameters = _mapping(raw, "parameters", place)
    for where, text in places(parameters, f"{place}: parameters"):
        if is_call(text):
            raise ConfigurationError(
                where,
                f"{as_written(text, 200)} is an expression, and a parameter is a plain value",
                "write the expression in the rule",
            )
    return parameters


def _digest(raw: Mapping[str, Any]) -> str:
    """The same for the same content, whatever the order of its keys, its comments and its format."""
    return digest(_canonical(raw))


def _canonical(value: object, *, secret: bool = False) -> Any:
    """A value as JSON can hold it. Of a secret setting only its name counts, and the app setting that it refers to."""
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


def _mapping(raw: Mapping[str, Any], key: str, place: str) -> Mapping[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        problem = f"{as_written(value)} is not a mapping"
        raise ConfigurationError(f"{place}: {key}", problem, f"write `key: value` lines below `{key}:`")
    return value
