"""Template functions on numbers and truth values (ARM template reference, numeric, logical and comparison functions).

`if`, `and` and `or` are not here: they do not evaluate every argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from onboarding.domain.policy.conditions.functions.collection import same


def number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("an integer is needed")
    return value


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false is needed")
    return value


def divide(left: Any, right: Any) -> int:
    """Whole-number division towards zero, as .NET does it."""
    quotient = abs(number(left)) // abs(number(right))
    return quotient if (left < 0) == (right < 0) else -quotient


def remainder(left: Any, right: Any) -> int:
    return number(left) - divide(left, right) * number(right)


def to_int(value: Any) -> int:
    if isinstance(value, float):
        return math.trunc(value)
    return int(value.strip()) if isinstance(value, str) else number(value)


def to_float(value: Any) -> float:
    result = float(value)
    if not math.isfinite(result):
        raise ValueError("not a finite number")
    return result


def order(left: Any, right: Any) -> int:
    """Numbers by size, strings character by character; nothing else has an order."""
    both_text = isinstance(left, str) and isinstance(right, str)
    both_numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (left, right))
    if not both_text and not both_numbers:
        raise TypeError("two numbers or two strings are needed")
    return int(left > right) - int(left < right)


def _numbers(values: tuple[Any, ...]) -> list[int]:
    flat = values[0] if len(values) == 1 and isinstance(values[0], (list, tuple)) else values
    return [number(value) for value in flat]


NUMBER_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "add": lambda left, right: number(left) + number(right),
    "div": divide,
    "equals": same,
    "false": lambda: False,
    "float": to_float,
    "greater": lambda left, right: order(left, right) > 0,
    "greaterOrEquals": lambda left, right: order(left, right) >= 0,
    "int": to_int,
    "less": lambda left, right: order(left, right) < 0,
    "lessOrEquals": lambda left, right: order(left, right) <= 0,
    "max": lambda *values: max(_numbers(values)),
    "min": lambda *values: min(_numbers(values)),
    "mod": remainder,
    "mul": lambda left, right: number(left) * number(right),
    "not": lambda value: not truth(value),
    "null": lambda: None,
    "sub": lambda left, right: number(left) - number(right),
    "true": lambda: True,
}
