"""A policy's `rule:` as a compiled condition of Azure Policy's grammar, looking at the VM's body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onboarding.core.conditions import Condition, ConditionError, Context, Resource, compile_condition, decisive
from onboarding.core.errors import ConfigurationError
from onboarding.core.facts import MachineFacts


@dataclass(frozen=True, slots=True)
class ConditionRule:
    """Implements `core.policy.Rule`."""

    condition: Condition

    def decide(self, facts: MachineFacts, now: datetime) -> tuple[bool, str]:
        evaluation = self.condition.evaluate(Resource(facts.body, Context(now=now)))
        return evaluation.matched, "" if evaluation.matched else "; ".join(decisive(evaluation.tree))


def compile_rule(source: Mapping[str, Any], place: str, parameters: Mapping[str, Any]) -> ConditionRule:
    """Compile a rule; what is unknown in it is an error that names the path."""
    try:
        return ConditionRule(compile_condition(source, parameters, place))
    except ConditionError as error:
        raise ConfigurationError(error.place, error.message, "write it in Azure Policy's condition grammar") from None
