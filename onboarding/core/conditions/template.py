"""A value of a definition that may be an expression: its effect, the type and name of the related resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onboarding.core.conditions.environment import Environment, Value
from onboarding.core.conditions.errors import TOO_DEEP
from onboarding.core.conditions.expressions import compile_value
from onboarding.core.conditions.fields import Scope
from onboarding.core.conditions.resource import Resource
from onboarding.core.conditions.values import fold


class Template(Struct, frozen=True):
    """A compiled value; `source` is how it is written."""

    source: Any
    value: Value

    def of(self, resource: Resource) -> Any:
        """The value for one resource; `Undecided` where it has none."""
        return self.value.of(Scope(resource, resource))


def compile_template(source: Any, parameters: Mapping[str, Any], place: str) -> Template:
    """Compile a JSON value whose strings may be expressions."""
    values = {fold(name): value for name, value in parameters.items()}
    env = Environment(values, place=place)
    try:
        return Template(source, compile_value(source, env))
    except RecursionError:
        raise env.error(TOO_DEEP) from None
