"""Azure Policy's condition grammar: compile a rule once, evaluate it against ARM bodies, explain the outcome.

Complete as documented for resource properties ("Azure Policy definition structure policy rule"). Pure: no clock, no
I/O; `now` comes with the resource's context. Compiling raises `ConditionError`; evaluation never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import replace
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Final

from onboarding.domain.hidden_fields import HidingStruct
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

_TO_EXPLAIN: Final = 8 * MAX_STEPS  # an explanation evaluates each part again, with all parts in it
NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({})


class Evaluation(HidingStruct, frozen=True):
    """The outcome for one resource. Undecided counts as not matched."""

    hidden: ClassVar[frozenset[str]] = frozenset({"explain"})

    matched: bool
    problem: str  # why it is undecided; empty if it is decided
    unread: str  # `resourceGroup` or `subscription` if reading that may decide it, else empty
    # Makes the tree, and only when it is needed: most evaluations are never explained.
    explain: Callable[[], Explanation]

    @property
    def decided(self) -> bool:
        return not self.problem

    @property
    def tree(self) -> Explanation:
        return self.explain()


class Condition(HidingStruct, frozen=True):
    """A compiled condition, for any number of resources."""

    hidden: ClassVar[frozenset[str]] = frozenset({"node"})

    node: Node
    place: str

    def evaluate(self, resource: Resource, subject: Resource | None = None) -> Evaluation:
        """Evaluate the condition for a resource. `subject` is the resource of the `if` when this is an
        `existenceCondition` about a related `resource`."""
        scope = Scope(resource, subject or resource)
        found = decided(self.node.test, scope)
        explain = partial(self._explained, scope, found)
        return Evaluation(bool(found.matched), found.problem, found.unread, explain)

    def _explained(self, scope: Scope, found: Decided) -> Explanation:
        """The tree; only its outcome if the tree takes too many steps."""
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
    source: Mapping[str, Any],
    parameters: Mapping[str, Any] = NO_PARAMETERS,
    place: str = "rule",
    related_type: str = "",
) -> Condition:
    """Compile a condition. `parameters` are values by name; `NOT_GIVEN` marks one without a value, which matters only
    if the outcome depends on it. `related_type` is the type of the related resource that the condition is about."""
    values = {fold(name): value for name, value in parameters.items()}
    env = Environment(values, place=place, related_type=related_type)
    try:
        return Condition(compile_node(source, env), place)
    except RecursionError:
        raise env.error(*TOO_DEEP) from None
