"""Every error of a condition at once, for people who mend a file; compiling stops at the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onboarding.core.conditions.compiler import compile_node
from onboarding.core.conditions.environment import Environment
from onboarding.core.conditions.errors import TOO_DEEP, ConditionError
from onboarding.core.conditions.values import fold


def condition_errors(
    source: Any, parameters: Mapping[str, Any], place: str, beside: str = ""
) -> tuple[ConditionError, ...]:
    """What compiling each part of the condition on its own finds wrong. `beside` as for `compile_condition`."""
    values = {fold(name): value for name, value in parameters.items()}
    return tuple(_errors(source, Environment(values, place=place, beside=beside)))


def _errors(source: Any, env: Environment) -> Iterator[ConditionError]:
    parts = list(_parts(source, env))
    if parts:
        for part, inner in parts:
            yield from _errors(part, inner)
        return
    try:
        compile_node(source, env)
    except ConditionError as error:
        yield error
    except RecursionError:
        yield env.error(TOO_DEEP)


def _parts(source: Any, env: Environment) -> Iterator[tuple[Any, Environment]]:
    """The conditions right below a well-formed logical operator."""
    if not isinstance(source, Mapping) or len(source) != 1:
        return
    key, value = next(iter(source.items()))
    if fold(str(key)) in ("allof", "anyof") and isinstance(value, list):
        yield from ((item, env.at(key).at(index)) for index, item in enumerate(value))
    elif fold(str(key)) == "not":
        yield value, env.at(key)
