"""Azure Policy's condition grammar: compile a rule once, evaluate it against ARM bodies, explain the outcome.

Complete as documented for resource properties ("Azure Policy definition structure policy rule"). Pure: no clock, no
I/O; `now` comes with the resource's context. What cannot be compiled is a `ConditionError`; evaluation never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import replace
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from onboarding.domain.policy.conditions.compiler import Decided, Node, compile_node, decided
from onboarding.domain.policy.conditions.environment import Environment
from onboarding.domain.policy.conditions.errors import TOO_DEEP, ConditionError, Undecided
from onboarding.domain.policy.conditions.explanation import Explanation, decisive, render
from onboarding.domain.policy.conditions.expressions import Template, compile_template
from onboarding.domain.policy.conditions.fields import Scope
from onboarding.domain.policy.conditions.limits import MAX_STEPS, Budget
from onboarding.domain.policy.conditions.resource import Context, Resource
from onboarding.domain.policy.conditions.values import NOT_GIVEN, fold

__all__ = [
    "NOT_GIVEN",
    "Condition",
    "ConditionError",
    "Context",
    "Evaluation",
    "Explanation",
    "Resource",
    "Template",
    "Undecided",
    "compile_condition",
    "compile_template",
    "decisive",
    "render",
]

_TO_EXPLAIN: Final = 8 * MAX_STEPS  # each part is decided again, with every part of it
NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome for one resource. Undecided counts as not matched: `problem` says why, and `unread` which of
    `resourceGroup` and `subscription` would have to be read to tell (empty: neither helps).

    The tree is made when it is asked for: most evaluations are never explained."""

    matched: bool
    problem: str = ""
    unread: str = ""
    explain: Callable[[], Explanation] = field(repr=False, compare=False, kw_only=True)

    @property
    def decided(self) -> bool:
        return not self.problem

    @property
    def tree(self) -> Explanation:
        return self.explain()


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition, good for any number of resources."""

    node: Node = field(repr=False)
    place: str

    def evaluate(self, resource: Resource, subject: Resource | None = None) -> Evaluation:
        """`subject` is the resource of the `if` when this is an `existenceCondition` over a related `resource`."""
        scope = Scope(resource, subject or resource)
        found = decided(self.node.test, scope)
        explain = partial(self._explained, scope, found)
        return Evaluation(bool(found.matched), found.problem, found.unread, explain=explain)

    def _explained(self, scope: Scope, found: Decided) -> Explanation:
        """The tree; where it would cost too much, its outcome alone."""
        try:
            if not scope.budget.exhausted:
                scope = replace(scope, budget=Budget(_TO_EXPLAIN))
                tree = self.node.explain(scope)
                if not scope.budget.exhausted:
                    return tree
        except (RecursionError, MemoryError):
            pass
        return Explanation(self.place, found.matched, problem=found.problem or "takes too many steps to be explained")


def compile_condition(
    source: Mapping[str, Any], parameters: Mapping[str, Any] = NO_PARAMETERS, place: str = "rule", beside: str = ""
) -> Condition:
    """Compile a condition. `parameters` are values by name; `NOT_GIVEN` marks one that has no value, which matters
    only where the outcome depends on it. `beside` is the type of the related resource that it looks at."""
    values = {fold(name): value for name, value in parameters.items()}
    env = Environment(values, place=place, beside=beside)
    try:
        return Condition(compile_node(source, env), place)
    except RecursionError:
        raise env.error(*TOO_DEEP) from None
