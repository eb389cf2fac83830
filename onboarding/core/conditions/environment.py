"""What a compiled rule is made of while it is being compiled: the meaning of names at a place, and compiled values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from onboarding.core.conditions.errors import ConditionError, Undecided
from onboarding.core.conditions.fields import Scope
from onboarding.core.conditions.values import fold


@dataclass(frozen=True, slots=True)
class Environment:
    """What names mean at one place of a rule: the parameters (names folded), the counts around it, the place itself."""

    parameters: Mapping[str, Any] = MappingProxyType({})
    counted: tuple[str, ...] = ()
    place: str = "rule"

    def at(self, step: str | int) -> Environment:
        return replace(self, place=f"{self.place}[{step}]" if isinstance(step, int) else f"{self.place}.{step}")

    def inside(self, name: str) -> Environment:
        return replace(self, counted=(*self.counted, fold(name)))

    def error(self, message: str) -> ConditionError:
        return ConditionError(self.place, message)


@dataclass(frozen=True, slots=True)
class Value:
    """A compiled value: `of(scope)` may raise `Undecided`; a constant one is the same in every scope."""

    of: Callable[[Scope], Any]
    constant: bool = False


NOWHERE: Final[Any] = None  # the scope of a constant, which looks at none


def constant_or_late(of: Callable[[Scope], Any], constant: bool) -> Value:
    """A constant is worked out now; one that has no value says so when, and only if, it is needed."""
    if not constant:
        return Value(of)
    try:
        value = of(NOWHERE)
    except Undecided:
        return Value(of)
    return Value(lambda _: value, True)
