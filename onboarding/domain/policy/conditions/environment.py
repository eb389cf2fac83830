"""What the compiler works with: the meaning of names at a place of a rule, and compiled values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import replace
from types import MappingProxyType
from typing import Any, ClassVar, Final

from msgspec import Struct, field

from onboarding.domain.hidden_fields import HidingStruct
from onboarding.domain.policy.conditions.errors import ConditionError, Undecided
from onboarding.domain.policy.conditions.fields import Scope
from onboarding.domain.policy.conditions.limits import Budget
from onboarding.domain.policy.conditions.resource import Resource
from onboarding.domain.policy.conditions.values import fold

_COMPILE_STEPS: Final = 1_000_000  # for all that is constant in one rule
_NOTHING: Final = Resource({})


class Environment(HidingStruct, frozen=True, eq=False):
    """What names mean at one place of a rule."""

    hidden: ClassVar[frozenset[str]] = frozenset({"budget"})

    parameters: Mapping[str, Any] = MappingProxyType({})  # values by folded name
    counted: tuple[str, ...] = ()  # the folded names of the counts around the place, the outermost first
    place: str = "rule"  # the path, for errors
    related_type: str = ""  # the resource type that the condition is about besides the known ones; empty for none
    budget: Budget = field(default_factory=lambda: Budget(_COMPILE_STEPS))

    def at(self, step: str | int) -> Environment:
        return replace(self, place=f"{self.place}[{step}]" if isinstance(step, int) else f"{self.place}.{step}")

    def inside(self, name: str) -> Environment:
        return replace(self, counted=(*self.counted, fold(name)))

    def error(self, problem: str, fix: str) -> ConditionError:
        return ConditionError(self.place, problem, fix)


class Value(Struct, frozen=True):
    """A compiled value."""

    of: Callable[[Scope], Any]  # may raise `Undecided`
    constant: bool = False  # the same in every scope


NOWHERE: Final[Any] = None  # the scope for a constant, which needs none


def constant_or_late(of: Callable[[Scope], Any], constant: bool, env: Environment) -> Value:
    """A constant is computed now. If it has no value, it raises `Undecided` later, and only if it is needed."""
    if not constant:
        return Value(of)
    try:
        value = of(Scope(_NOTHING, _NOTHING, budget=env.budget))
    except Undecided:
        return Value(of)
    return Value(lambda _: value, True)
