"""The right side of a condition: its one operator, and the value that the left side is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from onboarding.domain.errors import as_written, known_names
from onboarding.domain.policy.conditions.environment import NOWHERE, Environment, Value
from onboarding.domain.policy.conditions.expression_syntax import is_expression
from onboarding.domain.policy.conditions.expressions import compile_value
from onboarding.domain.policy.conditions.fields import Scope
from onboarding.domain.policy.conditions.limits import weight
from onboarding.domain.policy.conditions.operators import OPERATORS, Operator, Test, misfit


def compile_right(source: Mapping[str, Any], others: Mapping[str, str], env: Environment) -> tuple[Operator, Value]:
    """The one operator of a condition, and the value on its right side."""
    unknown = [key for word, key in others.items() if word not in OPERATORS]
    if unknown:
        known = (operator.name for operator in OPERATORS.values())
        raise env.error(f"unknown operator {as_written(unknown[0])}", known_names("operators", known, unknown[0]))
    if len(others) != 1:
        problem = (
            f"this condition has {len(others)} operators: {', '.join(others.values())}" if others else _NO_OPERATOR
        )
        raise env.error(problem, "give it exactly one operator (equals, in, like, exists, …)")
    word, key = next(iter(others.items()))
    operator, right = OPERATORS[word], compile_value(source[key], env.at(key))
    worked_out = isinstance(source[key], str) and is_expression(source[key])
    reason = misfit(operator, right.of(NOWHERE)) if right.constant and not worked_out else None
    if reason:
        raise env.at(key).error(*reason)
    return operator, right


_NO_OPERATOR: Final = "this condition has no operator"

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
    spaced, squeezed = ready(value), ready(unspaced(value))
    return lambda _, spaceless: squeezed if spaceless else spaced


def unspaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(" ", "")
    return [unspaced(item) for item in value] if isinstance(value, (list, tuple)) else value
