"""Limits for one evaluation: its steps, and the size of the values it makes.

Conditions come from other people's definitions and read other people's tags: one that would take minutes, or fill the
memory, is undecided with a reason instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from onboarding.domain.policy.conditions.errors import Undecided
from onboarding.domain.policy.conditions.values import Partly

MAX_TEXT: Final = 131_072
MAX_VALUES: Final = 32_768
MAX_STEPS: Final = 100_000
_TEXT_A_STEP: Final = 1024  # characters
_ITEMS_A_STEP: Final = 8
_INT64: Final = 2**63


class Budget:
    """The steps that are left; everything in one evaluation shares it."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise Undecided("the condition takes too many steps")

    @property
    def exhausted(self) -> bool:
        return self.left < 0


def weight(value: Any, factor: int = 1) -> int:
    """The steps that reading a value takes."""
    if isinstance(value, str):
        return len(value) * factor // _TEXT_A_STEP
    if isinstance(value, Partly):
        return 0
    return len(value) // _ITEMS_A_STEP if isinstance(value, (list, tuple, Mapping)) else 0


def bounded(value: Any, budget: Budget) -> Any:
    """The value. Raises ValueError if it is too large."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ValueError(f"the text is longer than {MAX_TEXT:,} characters")
    elif isinstance(value, (list, tuple, Mapping)):
        budget.spend(_size(value) // _ITEMS_A_STEP)
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise ValueError("the number is outside 64 bits")
    return value


def _size(value: Any) -> int:
    """How many values are inside, each counted as often as it occurs; texts count by their length."""
    size, todo = 0, [value]
    while todo:
        found = todo.pop()
        size += 1 + weight(found) if isinstance(found, str) else 1
        if isinstance(found, Mapping):
            todo.extend(found.values())
        elif isinstance(found, (list, tuple)):
            todo.extend(found)
        if size + len(todo) > MAX_VALUES:
            raise ValueError(f"there are more than {MAX_VALUES:,} values in it")
    return size
