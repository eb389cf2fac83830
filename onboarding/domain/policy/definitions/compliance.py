"""What a definition says of one resource: does it apply, with which effect, and is the resource compliant?

Semantics, after Azure's documentation of effects:
- the whole `if` decides whether the definition applies; where it does not, there is no compliance (None). Azure counts
  a VM of the right type that an `audit` does not match as compliant, which is not told apart here;
- `auditIfNotExists` and `deployIfNotExists`: compliant when any related resource satisfies `existenceCondition`, or,
  without one, when there is any; not compliant when none is there. Related are the children of the VM of that type, or
  the VM itself. What lies beside the VM (schedules, assignments, associations) is not in its body and is not read:
  there is no compliance then, and the answer says so;
- `audit`, `deny`, `append`, `modify`: what the `if` matches is non-compliant;
- `disabled`, `manual`, `denyAction`, …: no compliance;
- what cannot be decided, for want of a value mostly (a parameter's, or one around the resource such as its group's
  tags), has no compliance either; where that is the `if`, nobody knows whether the definition applies (None).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from onboarding.domain.policy.conditions import Condition, Evaluation, Resource, Template, Undecided, decisive
from onboarding.domain.policy.conditions.resource import EXTENSIONS

# Every effect that Azure Policy knows; to Azure their case does not matter.
EFFECTS = (
    *("addToNetworkGroup", "append", "audit", "auditIfNotExists", "deny", "denyAction", "deployIfNotExists"),
    *("disabled", "enforceOPAConstraint", "enforceRegoPolicy", "manual", "modify", "mutate"),
)
_IF_NOT_EXISTS = ("auditifnotexists", "deployifnotexists")
_MATCH_IS_VIOLATION = ("audit", "deny", "append", "modify")


class Answer(Struct, frozen=True):
    """`because` holds the lines that decided, in the order in which they were asked. `applies` is None where that
    cannot be told."""

    applies: bool | None
    effect: str
    compliant: bool | None
    because: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "applies": self.applies,
            "effect": self.effect,
            "compliant": self.compliant,
            "because": list(self.because),
        }


class Existence(Struct, frozen=True):
    """The related resource that an `…IfNotExists` effect looks for.

    Of a type that lies beside the machine all that is known is that it is not in the machine's body."""

    type: Template
    name: Template | None
    condition: Condition | None

    def judge(self, subject: Resource) -> tuple[bool | None, tuple[str, ...]]:
        """Whether it exists as it should, None where the body cannot tell, and why."""
        try:
            candidates, complete = self.candidates(subject)
        except Undecided as reason:
            return None, (f"the related resource cannot be named: {reason}",)
        words = self._words(subject)
        if candidates:
            return self._best(candidates, subject, words)
        if complete:
            return False, (f"there is no {words}",)
        return None, (
            f"there is no {words} in the body of the resource, which does not list what Azure has of that type",
        )

    def candidates(self, subject: Resource) -> tuple[tuple[Resource, ...], bool]:
        """The related resources in the body that have the name, and whether there can be no others."""
        found, complete = _related(subject, str(self.type.of(subject)))
        name = self._name(subject) if found else None  # where there is none of the type, the name does not matter
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
        """The first candidate that satisfies the condition; else why the others do not."""
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
            return Answer(True, effect, None, (*because, f"effect {effect} says nothing of compliance"))
        if self.existence is None:
            return Answer(True, effect, None, (*because, "then.details does not name the type of the related resource"))
        compliant, found = self.existence.judge(resource)
        return Answer(True, effect, compliant, because + found)

    def _effect(self, resource: Resource) -> tuple[str, tuple[str, ...]]:
        """The effect as written where its parameter has no value."""
        try:
            return str(self.effect.of(resource)), ()
        except Undecided as reason:
            return str(self.effect.source), (f"effect: {reason}",)


def _because(evaluation: Evaluation) -> tuple[str, ...]:
    lines = tuple(f"if: {line}" for line in decisive(evaluation.tree))
    return (*lines, f"if: cannot be decided: {evaluation.problem}") if evaluation.problem else lines


def _related(subject: Resource, type_: str) -> tuple[tuple[Resource, ...], bool]:
    """The related resources in the body, and whether these are all there are."""
    if type_.lower() == subject.type.lower():
        return (subject,), True
    found = subject.children(type_)
    return found, bool(found) or type_.lower() == EXTENSIONS.lower()


def _is_named(resource: Resource, name: str) -> bool:
    """By its own or its full name; `?` stands for any last segment ("parentResourceName/?")."""
    parent, _, last = name.lower().rpartition("/")
    if last == "?":
        return not parent or resource.full_name.lower().startswith(f"{parent}/")
    return name.lower() in (resource.name.lower(), resource.full_name.lower())
