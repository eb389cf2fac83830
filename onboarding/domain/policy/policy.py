"""Policies: which VMs must have which extension, and with which settings; or which must not have it any more.

Selecting is pure: from VM facts to one assignment for each extension, with the reason that the table shows.
`policy_file` says how a policy is written.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from copy import replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Protocol

from msgspec import Struct, field

from onboarding.domain.json_access import digest
from onboarding.domain.limits.rollout_limit import RolloutLimit
from onboarding.domain.machine.machine_facts import MachineFacts, OsType
from onboarding.domain.machine.managed_machines import Managed, ManagedKinds
from onboarding.domain.policy.active_when import ActiveWhen
from onboarding.domain.policy.change_window import ChangeWindows
from onboarding.domain.policy.conditions import Explanation
from onboarding.domain.policy.exemption import Exemption
from onboarding.domain.policy.only_after import OnlyAfter
from onboarding.domain.policy.rule import Match
from onboarding.domain.policy.scope import Scope
from onboarding.domain.policy.workspaces import Workspace, choose
from onboarding.domain.policy_digest import parts
from onboarding.domain.reconcile.steps.association_step import AssociationNeed
from onboarding.domain.reconcile.steps.identity_step import IdentityNeed
from onboarding.domain.reconcile.wait_schedule import Waits
from onboarding.domain.resource_id import VmId

BY_HAND = "onboard remove"
"""The policy of a row whose extension a person removes by name, where no policy of the folder decides on it."""
_ALL_CHECKS = 5


class Effect(StrEnum):
    """What a policy does, in Azure Policy's words."""

    DEPLOY = "deployIfNotExists"  # install
    AUDIT = "auditIfNotExists"  # only say what would be installed
    REMOVE = "removeIfExists"  # remove; Azure Policy has no such effect
    DISABLED = "disabled"

    @classmethod
    def _missing_(cls, value: object) -> Effect | None:
        """Azure writes `DeployIfNotExists` too."""
        return next((effect for effect in cls if str(value).lower() == effect.lower()), None)


class Existing(StrEnum):
    """What a policy does with machines that are older than the policy itself."""

    AUDIT = "audit"  # only say what would be done
    ENFORCE = "enforce"  # treat them as new ones


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
    extension: str  # the catalogue entry's name; `policy:<name>` while it is open which of several a machine gets
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
    change_windows: ChangeWindows = ChangeWindows()  # when what is there may be changed; empty for always
    change_window_tag: str = ""  # the tag with a machine's own windows; empty for none
    azure_policy: frozenset[str] = frozenset()  # ids of Azure Policy's definitions and assignments, in lower case
    auto_upgrade_minor_version: bool | None = None  # None for the catalogue entry's
    identity: IdentityNeed | None = None  # the identity that the agent needs; `{NAME}` in it stands for an app setting
    associations: AssociationNeed = AssociationNeed()  # with data collection rules and an endpoint; the same
    only_after: OnlyAfter | None = None  # of a removal: the policy that must have been satisfied first; None: at once
    existing: Existing = Existing.AUDIT
    one_of: Mapping[str, OsType] = field(default_factory=dict)  # several extensions, one for each OS; empty for one
    digest: str = ""  # of the file's content without secret values, and after a point of what its extensions say
    selection_digest: str = ""  # of what decides which machines it is about, and whether it acts
    active_when: ActiveWhen | None = None  # the app settings that make it active; None for always
    inactive: str = ""  # why it is not active with the app settings of this process; empty if it is

    def with_settings(self, app_settings: Mapping[str, str]) -> Policy:
        """This policy as it is with these app settings. One that is not active has other digests: rows of the active
        one are rows of another version, and a selection is new when the policy becomes active."""
        if self.active_when is None or not (why := self.active_when.unmet(app_settings)):
            return self
        other = digest(f"{parts(self.digest)[0]} inactive")
        return replace(self, inactive=why, digest=other, selection_digest=digest("inactive"))

    @property
    def off(self) -> str:
        """Why it does nothing on any machine, for people; empty if it does something."""
        if self.effect is Effect.DISABLED:
            return f"policy {self.name} is disabled"
        return f"policy {self.name} is not active: {self.inactive}" if self.inactive else ""

    @property
    def removes(self) -> bool:
        """Whether it removes its extension instead of installing it."""
        return self.effect is Effect.REMOVE

    @property
    def extensions(self) -> tuple[str, ...]:
        """The names of all catalogue entries that the policy may install."""
        return tuple(self.one_of) or (self.extension,)

    @property
    def spares_existing(self) -> bool:
        """Whether it acts on new machines and only audits those that are older than the policy."""
        return self.effect in (Effect.DEPLOY, Effect.REMOVE) and self.existing is Existing.AUDIT

    @property
    def open_target(self) -> str:
        """The target of a machine whose operating system is not known yet; empty for a policy with one extension."""
        return f"policy:{self.name}" if self.one_of else ""

    def for_target(self, target: str) -> Policy:
        """This policy with that one of its targets."""
        return self if target == self.extension else replace(self, extension=target)

    def for_stored(self, stored: Container[str]) -> tuple[Policy, ...]:
        """This policy for a machine that was not read: with each of its targets that `stored` has, else with the one
        of an unknown operating system."""
        if not self.one_of:
            return (self,)
        found = [target for target in (*self.one_of, self.open_target) if target in stored]
        return tuple(self.for_target(target) for target in found or [self.open_target])

    def for_system(self, os_type: OsType, stored: Container[str] = ()) -> tuple[Policy, ...]:
        """This policy with the extension for that operating system. An extension of another one is added only if
        `stored` has it: the row of an earlier machine of this name has to end."""
        if not self.one_of:
            return (self,)
        own = [target for target, system in self.one_of.items() if system is os_type]
        if not own:
            known = [target for target in self.one_of if target in stored]
            return tuple(self.for_target(target) for target in known or [self.open_target])
        others = [target for target in self.one_of if target not in own and target in stored]
        return tuple(self.for_target(target) for target in (*own, *others))

    def in_scope(self, vm: VmId) -> bool:
        inside = not self.scopes or any(scope.contains(vm) for scope in self.scopes)
        return inside and not any(scope.contains(vm) for scope in self.not_scopes)

    def select(
        self, facts: MachineFacts, now: datetime, recognise: Callable[[ManagedKinds], Managed | None] | None = None
    ) -> Assignment:
        """Whether this policy selects the VM for its extension; the coarse checks come first. A caller with several
        policies passes `recognise`, so that the kind of managed machine is found once for all of them."""
        if self.off:
            return Assignment(self, False, self.off, checks_passed=0)
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
        return Assignment(self, True, reason, checks_passed=_ALL_CHECKS)

    def _undecided(self, what: str, match: Match) -> Assignment:
        reason = f"the {what} of policy {self.name} cannot be decided: {match.why}"
        return Assignment(self, False, reason, checks_passed=_ALL_CHECKS, undecided=True, unread=match.unread)

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

    def says_more_than(self, earlier: Assignment) -> bool:
        """Whether it is shown instead of an earlier policy's, which does not select the VM. A removal's refusal is
        shown only where no install refuses the VM, too: what is not to be removed gets no row."""
        if earlier.policy.removes and not self.policy.removes and earlier.checks_passed < _ALL_CHECKS:
            return True
        return self.checks_passed > earlier.checks_passed


class PolicySet(Struct, frozen=True):
    """All policies, in the order of their files' names. The first that selects a VM, or is undecided about it, decides
    for its extension: a later policy must not overrule what an undecided one may want. A policy that removes the
    extension decides before those that install it, wherever its file stands."""

    policies: tuple[Policy, ...]

    def with_settings(self, app_settings: Mapping[str, str]) -> PolicySet:
        """The policies as they are with these app settings."""
        return PolicySet(tuple(policy.with_settings(app_settings) for policy in self.policies))

    @property
    def deciding(self) -> tuple[Policy, ...]:
        """The policies in the order in which they decide for an extension."""
        return tuple(sorted(self.policies, key=lambda policy: not policy.removes))

    def assign(self, facts: MachineFacts, now: datetime, stored: Container[str] = ()) -> tuple[Assignment, ...]:
        """One assignment for each extension that any policy names. Of a policy with one for each operating system it is
        the machine's own, and those of which `stored` has a row. A policy that is not active has one only for a row."""
        by_extension: dict[str, Assignment] = {}

        @cache  # once for all policies, and not for those out of scope
        def recognise(kinds: ManagedKinds) -> Managed | None:
            return kinds.recognise(facts)

        targets = [each for all_of in self.policies for each in all_of.for_system(facts.os_type, stored)]
        for policy in sorted(targets, key=lambda policy: not policy.removes):
            if policy.inactive and policy.extension not in stored:
                continue
            assignment = policy.select(facts, now, recognise)
            best = by_extension.get(policy.extension)
            if best is None or (not best.selected and assignment.says_more_than(best)):
                by_extension[policy.extension] = assignment
        names = dict.fromkeys(policy.extension for policy in targets)
        return tuple(by_extension[name] for name in names if name in by_extension)

    def for_finding(self, *ids: str) -> frozenset[str] | None:
        """The names of the policies that belong to a finding of Azure Policy, by the ids of its definition and
        assignment; None if no policy names such ids, so that the finding may be about any policy."""
        if not any(policy.azure_policy for policy in self.policies):
            return None
        return frozenset(policy.name for policy in self.policies if policy.azure_policy.intersection(ids))

    def reaching(self, vm: VmId, stored: Container[str] = ()) -> tuple[Policy, ...]:
        """The policies that could select a VM of which only the id is known, and the targets of its rows."""
        reaching = (p for p in self.deciding if not p.off and p.in_scope(vm))
        return tuple(each for policy in reaching for each in policy.for_stored(stored))

    def for_unread(self, vm: VmId, stored: Container[str] = ()) -> tuple[Policy, ...]:
        """The first of these policies for each target."""
        return tuple({policy.extension: policy for policy in reversed(self.reaching(vm, stored))}.values())
