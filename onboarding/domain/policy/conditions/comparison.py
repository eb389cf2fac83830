"""The right side of a condition: its one operator, and the value that the left side is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from onboarding.domain.policy.conditions.environment import NOWHERE, Environment, Value
from onboarding.domain.policy.conditions.expression_syntax import is_expression
from onboarding.domain.policy.conditions.expressions import compile_value
from onboarding.domain.policy.conditions.fields import Scope
from onboarding.domain.policy.conditions.limits import weight
from onboarding.domain.policy.conditions.operators import OPERATORS, Operator, Test, misfit
from onboarding.domain.policy.conditions.values import fold


def compile_right(source: Mapping[str, Any], others: Mapping[str, str], env: Environment) -> tuple[Operator, Value]:
    """The one operator of a condition, and the value on its right side."""
    unknown = [key for word, key in others.items() if word not in OPERATORS]
    if unknown:
        near = get_close_matches(fold(unknown[0]), OPERATORS, n=1)
        hint = f"; did you mean '{OPERATORS[near[0]].name}'?" if near else ""
        raise env.error(f"unknown operator '{unknown[0]}'{hint}")
    if len(others) != 1:
        found = ", ".join(others.values()) or "none"
        raise env.error(f"a condition has exactly one operator (equals, in, like, exists, …); here is {found}")
    word, key = next(iter(others.items()))
    operator, right = OPERATORS[word], compile_value(source[key], env.at(key))
    worked_out = isinstance(source[key], str) and is_expression(source[key])
    reason = misfit(operator, right.of(NOWHERE)) if right.constant and not worked_out else None
    if reason:
        raise env.at(key).error(reason)
    return operator, right


type Compare = Callable[[Scope, bool], tuple[Test, int, int]]


def comparison(operator: Operator, right: Value) -> Compare:
    """The test of a left side, with its cost: a number of steps, and how often a text is read.

    A constant right side is prepared once. Locations are compared without spaces: East US 2 is eastus2."""

    def ready(value: Any) -> tuple[Test, int, int]:
        passes = len(value) if operator.is_search and isinstance(value, str) else 1
        return operator.against(value), 1 + weight(value), passes

    if not right.constant:
        return lambda scope, spaceless: ready(unspaced(right.of(scope)) if spaceless else right.of(scope))
    value = right.of(NOWHERE)
    as_written, squeezed = ready(value), ready(unspaced(value))
    return lambda _, spaceless: squeezed if spaceless else as_written


def unspaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(" ", "")
    return [unspaced(item) for item in value] if isinstance(value, (list, tuple)) else value
