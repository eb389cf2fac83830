"""The explanation of one VM, as JSON and as text with ticks and crosses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from onboarding.application.preview import Forecast, forecast
from onboarding.application.rules import Rules
from onboarding.domain.image.os_identification import identify
from onboarding.domain.image.os_release import OsRelease
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.conditions import Explanation, Resource, Undecided, render
from onboarding.domain.policy.definitions.compliance import BoundDefinition
from onboarding.domain.policy.policy import Assignment, Policy

AUDITED_FIRST = "only Audited if it was created more than an hour before the policy was first seen (existing: audit)"


class PolicyStatement(Struct, frozen=True):
    """What one policy says about the VM."""

    assignment: Assignment

    decides: bool
    """It is the policy that decides for its extension."""

    trees: Mapping[str, Explanation]
    """The explanation of each condition, by its name."""

    def as_dict(self) -> dict[str, Any]:
        policy = self.assignment.policy
        return {
            "policy": policy.name,
            "extension": policy.extension,
            "existing": policy.existing.value,
            "selected": None if self.assignment.undecided else self.assignment.selected,
            "active": not policy.inactive,
            "decides": self.decides,
            "reason": self.assignment.reason,
            **{name: tree.as_dict() for name, tree in self.trees.items()},
        }

    def as_text(self) -> str:
        sign = "?" if self.assignment.undecided else "✓" if self.assignment.selected else "✗"
        rank = "decides" if self.decides else "does not decide"
        policy = self.assignment.policy
        head = f"{sign} policy {policy.name} ({rank}): {self.assignment.reason}; existing: {policy.existing}"
        return "\n".join([printable(head), *(_indented(_titled_tree(name, tree)) for name, tree in self.trees.items())])


class VmExplanation(Struct, frozen=True):
    """The explanation of one VM."""

    facts: MachineFacts
    release: OsRelease
    statements: tuple[PolicyStatement, ...]
    forecasts: tuple[Forecast, ...]

    def as_dict(self) -> dict[str, Any]:
        release = self.release
        return {
            "name": _name(self.facts),
            "id": str(self.facts.id) if self.facts.id.name else "",
            "os": {
                "distribution": release.distribution,
                "version": release.version,
                "architecture": release.architecture,
                "witness": release.source,
                "reason": release.reason,
            },
            "policies": [statement.as_dict() for statement in self.statements],
            "decisions": [_decision(each) for each in self.forecasts],
        }

    def as_text(self) -> str:
        lines = [printable(_name(self.facts)), printable(f"  system: {self.release.reason}")]
        for each in self.forecasts:
            extension = each.policy.extension
            lines.append(f"  {extension}")
            mine = [s for s in self.statements if s.assignment.policy.extension == extension]
            lines += [_indented(statement.as_text(), 4) for statement in mine]
            lines.append(printable(f"    support: {each.context.judgement.reason}"))
            if each.window:
                lines.append(printable(f"    change window: {each.window}"))
            lines.append(printable(f"    → {each.word}: {each.reason}"))
            if each.update:
                lines.append(printable(f"      update {each.update} if we installed it"))
            lines += [printable(f"      {step}") for step in each.steps if len(each.steps) > 1]
            lines += [printable(f"      do: {each.advice}")] if each.advice else []
            if each.audited_first:
                lines.append(printable(f"      {AUDITED_FIRST}; `onboard enforce {each.policy.name}` then takes it up"))
        off = [s.assignment for s in self.statements if s.assignment.policy.inactive]
        lines += [printable(f"  {assignment.reason}") for assignment in off]
        return "\n".join(lines)


def explain(rules: Rules, facts: MachineFacts, now: datetime) -> VmExplanation:
    """What each policy says about a VM, and what would be done."""
    forecasts = forecast(rules, facts, now)
    deciding = {each.policy.name for each in forecasts}
    statements = tuple(
        PolicyStatement(policy.select(facts, now), policy.name in deciding, dict(_trees(policy, facts, now)))
        for each in rules.policies.policies
        for policy in each.for_system(facts.os_type)
    )
    return VmExplanation(facts, identify(facts, rules.reference, rules.overrides), statements, forecasts)


def definition_trees(bound: BoundDefinition, resource: Resource) -> Iterator[tuple[str, Explanation]]:
    """The trees of an Azure Policy definition: `if`, and the existence condition for each related resource."""
    yield "if", bound.condition.evaluate(resource).tree
    if bound.existence is None or bound.existence.condition is None:
        return
    try:
        candidates, _ = bound.existence.candidates(resource)
    except Undecided:
        return
    for candidate in candidates:
        yield f"existenceCondition for '{candidate.name}'", bound.existence.condition.evaluate(candidate, resource).tree


def trees_as_dict(resource: Resource, trees: Mapping[str, Explanation]) -> dict[str, Any]:
    return {"name": resource.name, "id": resource.id, **{name: tree.as_dict() for name, tree in trees.items()}}


def trees_as_text(resource: Resource, trees: Mapping[str, Explanation]) -> str:
    name = printable(resource.name or "(no name)")
    return "\n".join([name, *(_titled_tree(what, tree) for what, tree in trees.items())])


def _titled_tree(name: str, tree: Explanation) -> str:
    return f"{printable(name)}\n{render(tree)}"


def _trees(policy: Policy, facts: MachineFacts, now: datetime) -> Iterator[tuple[str, Explanation]]:
    if policy.rule is not None:
        yield "rule", policy.rule.explain(facts, now)
    if policy.existence is not None:
        for extension in facts.extensions:
            tree = policy.existence.explain_extension(facts, extension.name, now)
            if tree is not None:
                yield f"existenceCondition for '{extension.name}'", tree


def _decision(each: Forecast) -> dict[str, Any]:
    judgement = each.context.judgement
    support = {"verdict": judgement.verdict, "supportTable": judgement.table or None, "row": judgement.row or None}
    return {"extension": each.policy.extension, **each.as_dict(), **support, "support": judgement.reason}


def _name(facts: MachineFacts) -> str:
    name = facts.body.get("name")
    return facts.id.name or (name if isinstance(name, str) else "") or "(no name)"


def _indented(text: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in text.split("\n"))
