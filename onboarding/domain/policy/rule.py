"""A policy's `rule:` and `existenceCondition:` as compiled conditions of Azure Policy's grammar."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.conditions import (
    Condition,
    ConditionError,
    Context,
    Evaluation,
    Explanation,
    Resource,
    compile_condition,
    decisive,
)
from onboarding.domain.policy.conditions.resource import EXTENSIONS


class ConditionRule(Struct, frozen=True):
    """Implements `policy.Rule`."""

    condition: Condition

    def decide(self, facts: MachineFacts, now: datetime) -> Match:
        return _match_of(self.condition.evaluate(resource_of(facts, now)))

    def decide_extension(self, facts: MachineFacts, name: str, now: datetime) -> Match:
        evaluation = self._of_extension(facts, name, now)
        return Match(False, "it is not in the VM's body") if evaluation is None else _match_of(evaluation)

    def explain(self, facts: MachineFacts, now: datetime) -> Explanation:
        return self.condition.evaluate(resource_of(facts, now)).tree

    def explain_extension(self, facts: MachineFacts, name: str, now: datetime) -> Explanation | None:
        evaluation = self._of_extension(facts, name, now)
        return None if evaluation is None else evaluation.tree

    def _of_extension(self, facts: MachineFacts, name: str, now: datetime) -> Evaluation | None:
        vm = resource_of(facts, now)
        named = (each for each in vm.children(EXTENSIONS) if each.name.lower() == name.lower())
        extension = next(named, None)
        return None if extension is None else self.condition.evaluate(extension, vm)


def resource_of(facts: MachineFacts, now: datetime) -> Resource:
    """The machine as a resource for conditions, with what is known about its group and subscription."""
    around = facts.around
    return Resource(
        facts.body, Context(subscription=around.subscription, resource_group=around.resource_group, now=now)
    )


def _match_of(evaluation: Evaluation) -> Match:
    """The match. Only a refusal gets a reason: most conditions hold, and reasons take time."""
    if not evaluation.decided:
        return Match(None, evaluation.problem, evaluation.unread)
    return _HOLDS if evaluation.matched else Match(False, "; ".join(decisive(evaluation.tree)))


class Match(Struct, frozen=True):
    """Whether a condition holds."""

    holds: bool | None  # None if it is undecided
    why: str = ""  # empty if it holds
    unread: str = ""  # if undecided: `resourceGroup` or `subscription` if reading that may decide it, else empty


_HOLDS = Match(True)


def compile_rule(source: Mapping[str, Any], place: str, parameters: Mapping[str, Any]) -> ConditionRule:
    """Compile a condition. Raises ConfigurationError, naming the path in it."""
    try:
        return ConditionRule(compile_condition(source, parameters, place))
    except ConditionError as error:
        raise ConfigurationError(error.place, error.problem, error.fix) from error
