"""Compares, for one machine, what Azure Policy decides by the members of an initiative with what our policies decide.

Azure's side is the members' own rules and existence conditions on the machine's body, as Azure evaluates them; ours is
the forecast that `onboard policy plan` shows. Nothing is requested or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

from onboarding.application.planned_steps import PlannedState
from onboarding.application.preview import UNKNOWN, Forecast, forecast
from onboarding.application.rules import Rules
from onboarding.domain.image.os_identification import ImageDefinition
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.conditions import Resource
from onboarding.domain.policy.definitions.compliance import Answer, BoundDefinition
from onboarding.domain.policy.definitions.condition_logic import holds
from onboarding.domain.policy.definitions.initiative_import import SetMember
from onboarding.domain.policy.definitions.member import (
    AssociationMember,
    ExtensionMember,
    IdentityMember,
    Wanted,
    read_member,
)
from onboarding.domain.policy.rule import resource_of
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.steps.step import StepKind


class Word(StrEnum):
    """What one side would do."""

    WRITE = "write"  # install, add or associate what is missing
    PRESENT = "present"  # it is there
    AUDIT = "audit"  # only say that it is missing
    UNKNOWN = "unknown"
    NOTHING = "nothing"


# Of several members about one thing the strongest counts.
_STRENGTH = (Word.WRITE, Word.PRESENT, Word.AUDIT, Word.UNKNOWN, Word.NOTHING)


class Side(Struct, frozen=True):
    """What one side would do, and why."""

    word: Word
    reason: str
    by: str = ""  # the member or the policy that decides; empty: none


class ComparedDecision(Struct, frozen=True):
    """Both sides' decision on one thing that a machine may have."""

    vm: str
    subject: str  # the extension, `identity`, `association`, or another member
    azure: Side
    ours: Side

    @property
    def differs(self) -> bool:
        return self.azure.word is not self.ours.word and Word.UNKNOWN not in (self.azure.word, self.ours.word)

    @property
    def why(self) -> str:
        """Why they differ: the reason of the side that does less; empty if they do the same."""
        if not self.differs:
            return ""
        weaker = max((self.azure, self.ours), key=lambda side: _STRENGTH.index(side.word))
        name = "Azure Policy" if weaker is self.azure else "our policies"
        return f"{name}: {weaker.reason}"

    def as_dict(self) -> dict[str, Any]:
        sides = {"azure": self.azure, "ours": self.ours}
        return {
            "vm": self.vm,
            "subject": self.subject,
            "differs": self.differs,
            **{name: {"decision": side.word, "by": side.by, "reason": side.reason} for name, side in sides.items()},
            "why": self.why,
        }

    def as_row(self) -> dict[str, Any]:
        """One row of CSV."""
        return {
            "vm": self.vm,
            "subject": self.subject,
            "differs": self.differs,
            "azure": self.azure.word,
            "ours": self.ours.word,
            "member": self.azure.by,
            "policy": self.ours.by,
            "why": self.why,
        }


class ComparedMember(Struct, frozen=True):
    """A member that is ready to be evaluated."""

    reference: str
    wanted: Wanted
    bound: BoundDefinition


def ready_member(member: SetMember) -> ComparedMember:
    """Raises ConditionError for values that the definition does not take."""
    assert member.definition is not None
    wanted = read_member(member.definition, member.values, member.names)
    return ComparedMember(member.reference, wanted, member.definition.bind(member.values))


def compare_machine(
    vm: str,
    members: Sequence[ComparedMember],
    rules: Rules,
    facts: MachineFacts,
    now: datetime,
    definition: ImageDefinition | None = None,
) -> Iterator[ComparedDecision]:
    """The decisions on everything that the members are about, in their order."""
    resource = resource_of(facts, now)
    azure: dict[str, list[Side]] = {}
    for member in members:
        side = _azure_side(member, resource)
        for subject in _subjects(member, rules, facts):
            azure.setdefault(subject, []).append(side)
    forecasts = {each.policy.extension: each for each in forecast(rules, facts, now, definition)}
    for subject, sides in azure.items():
        yield ComparedDecision(vm, subject, _strongest(sides), _our_side(subject, forecasts))


def _subjects(member: ComparedMember, rules: Rules, facts: MachineFacts) -> Iterable[str]:
    match member.wanted:
        case ExtensionMember(handlers=handlers):
            names = [_name_of(publisher, type_, rules, facts) for publisher, type_ in handlers]
            known = dict.fromkeys(name for name in names if name)
            fitting = [
                name for name in known if name in rules.catalogue and rules.catalogue[name].os_type is facts.os_type
            ]
            return fitting or known or [member.reference]
        case IdentityMember():
            return [StepKind.IDENTITY.value]
        case AssociationMember():
            return [StepKind.ASSOCIATION.value]
    return [member.reference]


def _name_of(publisher: str, type_: str, rules: Rules, facts: MachineFacts) -> str:
    """Our name of an extension, the one for the machine's system where only a publisher is known; empty for one that is
    for another system."""
    known = [
        entry
        for entry in rules.catalogue.values()
        if entry.publisher.lower() == publisher.lower() and type_.lower() in ("", entry.type.lower())
    ]
    fitting = [entry.name for entry in known if len(known) == 1 or entry.os_type is facts.os_type]
    return next(iter(fitting), "" if known else f"{publisher}.{type_}".rstrip("."))


def _azure_side(member: ComparedMember, resource: Resource) -> Side:
    answer = member.bound.evaluate(resource)
    word = _word_of(answer, member.wanted)
    reason = "; ".join(answer.because) or "its rule holds"
    if word is Word.NOTHING and _has_identity(member.wanted, resource):
        word = Word.PRESENT  # such a rule selects the machines that lack the identity
    return Side(word, reason, member.reference if answer.applies else "")


def _has_identity(wanted: Wanted, resource: Resource) -> bool:
    """Whether only the identity that the machine has keeps it from being given one."""
    if not isinstance(wanted, IdentityMember) or wanted.effect.lower() == "disabled":
        return False
    return holds(wanted.asks, resource.body) is True and holds(wanted.lacks, resource.body) is False


def _word_of(answer: Answer, wanted: Wanted) -> Word:
    effect = answer.effect.lower()
    if answer.applies is None:
        return Word.UNKNOWN
    if not answer.applies or effect == "disabled":
        return Word.NOTHING
    if answer.compliant is True:
        return Word.PRESENT
    if answer.compliant is None and not isinstance(wanted, AssociationMember):
        return Word.UNKNOWN
    # Associations are not in a machine's body: as in a plan, what would be written if it is missing.
    return Word.WRITE if effect in ("deployifnotexists", "modify") else Word.AUDIT


def _strongest(sides: Sequence[Side]) -> Side:
    return min(sides, key=lambda side: _STRENGTH.index(side.word))


def _our_side(subject: str, forecasts: Mapping[str, Forecast]) -> Side:
    if subject in (StepKind.IDENTITY, StepKind.ASSOCIATION):
        return _our_step(StepKind(subject), forecasts.values())
    found = forecasts.get(subject)
    if found is None:
        return Side(Word.NOTHING, "no policy wants it on this machine")
    word = _OUR_WORDS.get(found.word, Word.NOTHING)
    reason = found.reason if word is not Word.NOTHING else f"{found.word}: {found.reason}"
    return Side(word, reason, found.policy.name)


def _our_step(kind: StepKind, forecasts: Iterable[Forecast]) -> Side:
    sides = [Side(Word.NOTHING, f"no policy that selects the machine wants an {kind}")]
    for each in forecasts:
        for step in each.steps if not each.unknown_because else ():
            if step.step is kind and each.word != Outcome.OUT_OF_SCOPE:
                word = _STEP_WORDS.get(step.state, Word.NOTHING)
                audits = word is Word.WRITE and each.word == Outcome.AUDITED
                sides.append(Side(Word.AUDIT if audits else word, str(step), each.policy.name))
    return _strongest(sides)


_OUR_WORDS: Mapping[str, Word] = {
    "Install": Word.WRITE,
    "Update": Word.WRITE,
    Outcome.WAITING: Word.WRITE,
    Outcome.ALREADY_INSTALLED: Word.PRESENT,
    Outcome.AUDITED: Word.AUDIT,
    UNKNOWN: Word.UNKNOWN,
}
_STEP_WORDS: Mapping[PlannedState, Word] = {
    PlannedState.DONE: Word.PRESENT,
    PlannedState.PLANNED: Word.WRITE,
    PlannedState.UNKNOWN: Word.WRITE,
    PlannedState.WAITING: Word.WRITE,
}
