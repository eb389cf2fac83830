"""Evaluates a definition for one resource: does it apply, with which effect, and is the resource compliant?

Semantics, after Azure's documentation of effects:
- the whole `if` decides whether the definition applies; if it does not, there is no compliance (None). Azure counts
  a VM of the right type that an `audit` does not match as compliant; here that has no compliance either;
- `auditIfNotExists` and `deployIfNotExists`: compliant if any related resource satisfies `existenceCondition`, or,
  without one, if there is any; else not compliant. Related are the children of the VM of that type, or
  the VM itself. Resources outside the VM (schedules, assignments, associations) are not in its body and are not read:
  then there is no compliance, and the answer says so;
- `audit`, `deny`, `append`, `modify`: a resource that the `if` matches is not compliant;
- `disabled`, `manual`, `denyAction`, …: no compliance;
- undecided, mostly because a value is missing (a parameter's, or one of the resource's group such as its tags): no
  compliance either; if the `if` is undecided, it is unknown whether the definition applies (None).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from onboarding.domain.policy.conditions import Condition, Evaluation, Resource, Template, Undecided, decisive
from onboarding.domain.policy.conditions.resource import EXTENSIONS

# Every effect of Azure Policy; their case does not matter.
EFFECTS = (
    *("addToNetworkGroup", "append", "audit", "auditIfNotExists", "deny", "denyAction", "deployIfNotExists"),
    *("disabled", "enforceOPAConstraint", "enforceRegoPolicy", "manual", "modify", "mutate"),
)
_IF_NOT_EXISTS = ("auditifnotexists", "deployifnotexists")
_MATCH_IS_VIOLATION = ("audit", "deny", "append", "modify")


class Answer(Struct, frozen=True):
    """What a definition says about one resource."""

    applies: bool | None  # None if that is undecided
    effect: str
    compliant: bool | None  # None if the definition has no compliance for it
    because: tuple[str, ...]  # the lines that decided, in the order of evaluation

    def as_dict(self) -> dict[str, Any]:
        return {
            "applies": self.applies,
            "effect": self.effect,
            "compliant": self.compliant,
            "because": list(self.because),
        }


class Existence(Struct, frozen=True):
    """The related resource that an `…IfNotExists` effect requires."""

    type: Template  # a resource outside the machine's body is unknown
    name: Template | None  # None for any name
    condition: Condition | None  # None if it only has to exist

    def judge(self, subject: Resource) -> tuple[bool | None, tuple[str, ...]]:
        """Whether it exists and satisfies the condition (None if the body does not show it), and why."""
        try:
            candidates, complete = self.candidates(subject)
        except Undecided as reason:
            return None, (f"the related resource cannot be named: {reason}",)
        words = self._words(subject)
        if candidates:
            return self._best(candidates, subject, words)
        if complete:
            return False, (f"there is no {words}",)
        return None, (f"there is no {words} in the resource's body, which does not list resources of that type",)

    def candidates(self, subject: Resource) -> tuple[tuple[Resource, ...], bool]:
        """The related resources in the body that have the name, and whether there can be no others."""
        found, complete = _related(subject, str(self.type.of(subject)))
        name = self._name(subject) if found else None  # without a resource of the type the name does not matter
        return tuple(each for each in found if name is None or _is_named(each, name)), complete

    def _words(self, subject: Resource) -> str:
        try:
            name = self._name(subject)
        except Undecided:
            name = None
        return f"{self.type.of(subject)} '{name}'" if name else str(self.type.of(subject))

    def _name(self, subject: Resource) -> str | None:
        return None if self.name is None else str(self.name.of(subject))

    def _best(
        self, candidates: tuple[Resource, ...], subject: Resource, words: str
    ) -> tuple[bool | None, tuple[str, ...]]:
        """Whether any candidate satisfies the condition, with the first that does, or with why they do not."""
        if self.condition is None:
            return True, (f"there is {words}: {candidates[0].name}",)
        refusals, undecided = [], False
        for candidate in candidates:
            evaluation = self.condition.evaluate(candidate, subject)
            reasons = "; ".join(decisive(evaluation.tree))
            if evaluation.matched:
                return True, (f"existenceCondition holds for '{candidate.name}': {reasons}",)
            undecided = undecided or not evaluation.decided
            refusals.append(f"existenceCondition does not hold for '{candidate.name}': {reasons}")
        return (None if undecided else False), tuple(refusals)


class BoundDefinition(Struct, frozen=True):
    """A definition compiled for one set of parameter values."""

    effect: Template
    condition: Condition
    existence: Existence | None

    def evaluate(self, resource: Resource) -> Answer:
        effect, reasons = self._effect(resource)
        evaluation = self.condition.evaluate(resource)
        because = (*reasons, *_because(evaluation))
        if not evaluation.decided:
            return Answer(None, effect, None, because)
        if not evaluation.matched:
            return Answer(False, effect, None, because)
        if effect.lower() in _MATCH_IS_VIOLATION:
            return Answer(True, effect, False, because)
        if effect.lower() not in (*_IF_NOT_EXISTS, str(self.effect.source).lower()):
            return Answer(True, effect, None, (*because, f"effect {effect} has no compliance"))
        if self.existence is None:
            return Answer(True, effect, None, (*because, "then.details does not name the type of the related resource"))
        compliant, found = self.existence.judge(resource)
        return Answer(True, effect, compliant, because + found)

    def _effect(self, resource: Resource) -> tuple[str, tuple[str, ...]]:
        """The effect; as it is written if its parameter has no value."""
        try:
            return str(self.effect.of(resource)), ()
        except Undecided as reason:
            return str(self.effect.source), (f"effect: {reason}",)


def _because(evaluation: Evaluation) -> tuple[str, ...]:
    lines = tuple(f"if: {line}" for line in decisive(evaluation.tree))
    return (*lines, f"if: cannot be decided: {evaluation.problem}") if evaluation.problem else lines


def _related(subject: Resource, type_: str) -> tuple[tuple[Resource, ...], bool]:
    """The related resources in the body, and whether there are no others."""
    if type_.lower() == subject.type.lower():
        return (subject,), True
    found = subject.children(type_)
    return found, bool(found) or type_.lower() == EXTENSIONS.lower()


def _is_named(resource: Resource, name: str) -> bool:
    """Whether its own or its full name is this one; `?` stands for any last segment ("parentResourceName/?")."""
    parent, _, last = name.lower().rpartition("/")
    if last == "?":
        return not parent or resource.full_name.lower().startswith(f"{parent}/")
    return name.lower() in (resource.name.lower(), resource.full_name.lower())
