"""What a compiled rule is made of while it is being compiled: the meaning of names at a place, and compiled values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import replace
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from onboarding.domain.policy.conditions.errors import ConditionError, Undecided
from onboarding.domain.policy.conditions.fields import Scope
from onboarding.domain.policy.conditions.limits import Budget
from onboarding.domain.policy.conditions.resource import Resource
from onboarding.domain.policy.conditions.values import fold

_COMPILE_STEPS: Final = 1_000_000  # for all that is constant in one rule
_NOTHING: Final = Resource({})


@dataclass(frozen=True, slots=True)
class Environment:
    """What names mean at one place of a rule: the parameters (names folded), the counts around it, the place itself,
    and the resource type that the condition looks at besides the known ones."""

    parameters: Mapping[str, Any] = MappingProxyType({})
    counted: tuple[str, ...] = ()
    place: str = "rule"
    beside: str = ""
    budget: Budget = field(default_factory=lambda: Budget(_COMPILE_STEPS), repr=False, compare=False)

    def at(self, step: str | int) -> Environment:
        return replace(self, place=f"{self.place}[{step}]" if isinstance(step, int) else f"{self.place}.{step}")

    def inside(self, name: str) -> Environment:
        return replace(self, counted=(*self.counted, fold(name)))

    def error(self, problem: str, fix: str) -> ConditionError:
        return ConditionError(self.place, problem, fix)


class Value(Struct, frozen=True):
    """A compiled value: `of(scope)` may raise `Undecided`; a constant one is the same in every scope."""

    of: Callable[[Scope], Any]
    constant: bool = False


NOWHERE: Final[Any] = None  # the scope of a constant, which looks at none


def constant_or_late(of: Callable[[Scope], Any], constant: bool, env: Environment) -> Value:
    """A constant is worked out now; one that has no value says so when, and only if, it is needed."""
    if not constant:
        return Value(of)
    try:
        value = of(Scope(_NOTHING, _NOTHING, budget=env.budget))
    except Undecided:
        return Value(of)
    return Value(lambda _: value, True)
