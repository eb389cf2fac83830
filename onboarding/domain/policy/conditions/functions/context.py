"""The functions that need more than their arguments: the resource, the parameters, the counted member or the clock; and
those that do not evaluate every argument (`if`, `and`, `or`). Each compiles its call once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct

from onboarding.domain.errors import as_written, known_names
from onboarding.domain.policy.conditions.aliases import UnknownAlias, find_alias, is_alias
from onboarding.domain.policy.conditions.environment import NOWHERE, Environment, Value, constant_or_late
from onboarding.domain.policy.conditions.errors import Undecided, joined
from onboarding.domain.policy.conditions.fields import Field, Scope, bound, collect, find_field, folded, steps_of
from onboarding.domain.policy.conditions.functions.network import written
from onboarding.domain.policy.conditions.functions.number import truth
from onboarding.domain.policy.conditions.functions.plain import call
from onboarding.domain.policy.conditions.resource import Resource
from onboarding.domain.policy.conditions.values import MISSING, NOT_GIVEN, fold

type Arguments = Sequence[Value]


class ContextFunction(Struct, frozen=True):
    """One function."""

    least: int  # arguments at least
    most: int  # arguments at most
    compile: Callable[[Arguments, Environment], Value]  # compiles a call


def _parameters(arguments: Arguments, env: Environment) -> Value:
    key = _word("parameters", arguments[0], env)
    value = env.parameters.get(fold(key), MISSING)
    if value is MISSING:
        known = known_names("parameters", env.parameters, key) if env.parameters else "define it below `parameters:`"
        raise env.error(f"unknown parameter {as_written(key)}", known)
    if value is NOT_GIVEN:
        return Value(_undecided(f"parameter '{key}' has neither a value nor a default"))
    return Value(lambda _: value, True)


def _word(function: str, argument: Value, env: Environment) -> str:
    if not argument.constant:
        problem = f"the name in {function}() differs from resource to resource"
        raise env.error(problem, f"write a fixed name: {function}('name')")
    return str(argument.of(NOWHERE))


def _undecided(reason: str) -> Callable[[Scope], Any]:
    def of(_: Scope) -> Any:
        raise Undecided(reason)

    return of


def _field(arguments: Arguments, env: Environment) -> Value:
    """`field()` returns the value as it is: `""` for a missing one, an array for an array alias."""
    get = compile_field(arguments[0], env)

    def of(scope: Scope) -> Any:
        field = get(scope)
        value = field.read(scope.subject, scope.members if scope.subject is scope.resource else ())
        if field.is_array:
            return [item for item in value if item is not MISSING]
        return "" if value is MISSING else value

    return Value(of)


def compile_field(name: Value, env: Environment) -> Callable[[Scope], Field]:
    """The field that a name or an expression stands for. An unknown constant name is an error now."""
    if name.constant:
        try:
            found = find_field(str(name.of(NOWHERE)), env.related_type)
        except UnknownAlias as error:
            raise env.error(error.problem, error.fix) from error
        return lambda _: found

    def of(scope: Scope) -> Field:
        try:
            return find_field(str(name.of(scope)), env.related_type)
        except UnknownAlias as error:
            raise Undecided(str(error)) from None

    return of


def _current(arguments: Arguments, env: Environment) -> Value:
    if not env.counted:
        raise env.error("current() is used outside of a count", "use it in the 'where' of a count")
    if not arguments:
        return Value(lambda scope: scope.members[-1].value)
    name = _word("current", arguments[0], env)
    if fold(name) in env.counted:
        return Value(lambda scope: next(m.value for m in reversed(scope.members) if m.name == fold(name)))
    if not is_alias(name):
        problem = f"current({as_written(name)}) names no count around it"
        raise env.error(problem, known_names("counts", env.counted, name))
    return _current_property(name, env)


def _current_property(name: str, env: Environment) -> Value:
    """`current('…array[*].property')`: a property of the counted member."""
    try:
        alias = find_alias(name, env.related_type)
    except UnknownAlias as error:
        raise env.error(error.problem, error.fix) from error

    def of(scope: Scope) -> Any:
        steps = folded(steps_of(alias, scope.resource) or ())
        if not any(member.path and steps[: len(member.path)] == member.path for member in scope.members):
            raise Undecided(f"current('{name}') is not a property of what is being counted")
        start, rest = bound(alias, scope.resource, scope.members)
        values = collect(start, rest)
        found = [value for value in values if value is not MISSING]
        return found if len(found) > 1 else next(iter(found), None)

    return Value(of)


def _if(arguments: Arguments, env: Environment) -> Value:
    condition, yes, no = arguments
    return constant_or_late(
        lambda scope: (yes if call("if", truth, [condition.of(scope)], scope.budget) else no).of(scope),
        all(part.constant for part in arguments),
        env,
    )


def _joined(name: str, decisive: bool) -> ContextFunction:
    def compile_joined(arguments: Arguments, env: Environment) -> Value:
        tests = [partial(_truth, name, argument) for argument in arguments]
        return constant_or_late(partial(joined, decisive, tests), all(part.constant for part in arguments), env)

    return ContextFunction(1, 128, compile_joined)


def _truth(name: str, argument: Value, scope: Scope) -> bool:
    return bool(call(name, truth, [argument.of(scope)], scope.budget))


def _around(read: Callable[[Resource], Any]) -> ContextFunction:
    return ContextFunction(0, 0, lambda arguments, env: Value(lambda scope: read(scope.subject)))


CONTEXT_FUNCTIONS: Final[Mapping[str, ContextFunction]] = {
    "parameters": ContextFunction(1, 1, _parameters),
    "field": ContextFunction(1, 1, _field),
    "current": ContextFunction(0, 1, _current),
    "if": ContextFunction(3, 3, _if),
    "and": _joined("and", decisive=False),
    "or": _joined("or", decisive=True),
    "utcnow": _around(lambda resource: written(resource.context.now)),
    "resourcegroup": _around(lambda resource: resource.resource_group()),
    "subscription": _around(lambda resource: resource.subscription()),
    "requestcontext": _around(lambda resource: resource.request()),
    "policy": _around(lambda resource: resource.policy()),
}
