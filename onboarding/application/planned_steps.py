"""Which steps a policy would take on a machine of which only a body is known: identity, associations, extension.

The body never says which associations the machine has, and some lists leave out its identities: such steps are
`unknown`, and would be looked at first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from msgspec import Struct

from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, Satisfied, Stop, Wait
from onboarding.domain.reconcile.existing_machines import extension_words
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.steps.association_step import AssociationNeed, Associations, conflicting_endpoint
from onboarding.domain.reconcile.steps.combining import wants_steps
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.reconcile.steps.step_words import words_of
from onboarding.domain.resource_id import name_in

NOT_IN_THE_BODY = "not known from the body; would be checked"


class PlannedState(StrEnum):
    """What would become of a step."""

    DONE = "done"  # it is there
    PLANNED = "planned"  # it would be written
    UNKNOWN = "unknown"  # the body does not say whether it is there; if not, it would be written
    WAITING = "waiting"
    REFUSED = "refused"  # it cannot be done, or a person has to act first
    BLOCKED = "blocked"  # by a step before it


class PlannedStep(Struct, frozen=True):
    """One step."""

    step: StepKind
    state: PlannedState
    subject: str = ""
    """The id or the name of the resource; empty: none serves."""
    reason: str = ""
    """Why, for people; empty: the state says it."""
    words: str = ""
    """What the step does, where kind and subject do not say it."""

    def as_dict(self) -> dict[str, Any]:
        why = {"reason": self.reason} if self.reason else {}
        return {"step": self.step.value, "state": self.state.value, "subject": self.subject or None, **why}

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"{self._name}: {self.state}{why}"

    @property
    def _name(self) -> str:
        return f"{self.step} {name_in(self.subject)}".rstrip()

    @property
    def written(self) -> str:
        """What would be written, in a few words; empty: nothing would."""
        words = self.words or words_of(self.step, self.subject)
        said = {PlannedState.PLANNED: words, PlannedState.UNKNOWN: f"{words} if missing"}
        return said.get(self.state, f"{words} later" if self.state is PlannedState.WAITING else "")


def planned_steps(
    context: DecisionContext,
    extension: Decision,
    *,
    identities_known: bool = True,
    associations: Associations | None = None,
) -> tuple[PlannedStep, ...]:
    """The steps in their order; none where the policy wants nothing of the machine. `extension` is the decision on the
    extension alone; without `associations`, it is not known which ones the machine has."""
    if context.removes:
        return _removal(context, extension)
    if not wants_steps(context):
        return ()
    identity = list(_identity(context, extension, known=identities_known))
    need = context.needs.associations
    associated = [_association(need, subject, associations) for subject in need.subjects]
    blocked = any(step.state is PlannedState.REFUSED for step in identity)
    return (*identity, *associated, _extension(context, extension, blocked=blocked))


def in_words(steps: Iterable[PlannedStep]) -> str:
    """What would be written, in the order of the steps, for a policy with more than an extension; else empty."""
    listed = list(steps)
    return ", ".join(filter(None, (step.written for step in listed))) if len(listed) > 1 else ""


def _removal(context: DecisionContext, decision: Decision) -> tuple[PlannedStep, ...]:
    name = context.entry.name
    match decision:
        case Act():
            return (PlannedStep(StepKind.REMOVAL, PlannedState.PLANNED, name),)
        case Wait():
            return (PlannedStep(StepKind.REMOVAL, PlannedState.WAITING, name, decision.reason),)
        case Stop(outcome=Outcome.REMOVED):
            return (PlannedStep(StepKind.REMOVAL, PlannedState.DONE, name),)
        case _:
            return ()


def _identity(context: DecisionContext, extension: Decision, *, known: bool) -> Iterator[PlannedStep]:
    need = context.needs.identity
    if need is None:
        return
    if not known:
        yield PlannedStep(StepKind.IDENTITY, PlannedState.UNKNOWN, need.add, NOT_IN_THE_BODY)
    elif context.identity is not None:
        fit = context.identity.fit
        stopped = isinstance(extension, Stop) and extension.outcome is not Outcome.AUDITED
        state = PlannedState.BLOCKED if stopped else PlannedState.PLANNED
        if fit.there:
            state = PlannedState.DONE
        elif fit.conflict:
            state = PlannedState.REFUSED
        yield PlannedStep(StepKind.IDENTITY, state, fit.identity, fit.conflict)


def _association(need: AssociationNeed, subject: str, known: Associations | None) -> PlannedStep:
    endpoint = subject == need.endpoint
    state, reason = PlannedState.PLANNED, ""
    if known is None:
        state, reason = PlannedState.UNKNOWN, NOT_IN_THE_BODY
    elif known.has(subject, endpoint=endpoint):
        state = PlannedState.DONE
    elif endpoint and (other := conflicting_endpoint(need, known)):
        state, reason = PlannedState.REFUSED, f"the machine is associated with {other}"
    return PlannedStep(StepKind.ASSOCIATION, state, subject, reason)


def _extension(context: DecisionContext, decision: Decision, *, blocked: bool) -> PlannedStep:
    state, reason = PlannedState.PLANNED, ""
    match decision:
        case Satisfied():
            state = PlannedState.DONE
        case Stop(outcome=outcome) if outcome is not Outcome.AUDITED:
            state, reason = PlannedState.REFUSED, decision.reason
        case _ if blocked:
            state = PlannedState.BLOCKED
        case Wait():
            state, reason = PlannedState.WAITING, decision.reason
        case Act() | Stop():
            pass
    return PlannedStep(StepKind.EXTENSION, state, context.entry.name, reason, extension_words(context))
