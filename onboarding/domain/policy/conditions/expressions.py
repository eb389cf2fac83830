"""Compiles template expressions to closures: names are looked up once, constant parts are computed once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import as_written, known_names
from onboarding.domain.policy.conditions.environment import Environment, Value, constant_or_late
from onboarding.domain.policy.conditions.errors import TOO_DEEP, ConditionError, Undecided
from onboarding.domain.policy.conditions.expression_syntax import (
    Access,
    Call,
    Expression,
    Literal,
    SyntaxFault,
    is_expression,
    parse,
    unescaped,
)
from onboarding.domain.policy.conditions.fields import Scope
from onboarding.domain.policy.conditions.functions.context import CONTEXT_FUNCTIONS
from onboarding.domain.policy.conditions.functions.plain import FUNCTIONS, NOT_IN_RULES, call
from onboarding.domain.policy.conditions.limits import bounded
from onboarding.domain.policy.conditions.resource import Resource
from onboarding.domain.policy.conditions.values import MISSING, fold, property_of, shown


def compile_value(source: Any, env: Environment) -> Value:
    """Compile a JSON value in which strings at any depth may be expressions."""
    if isinstance(source, str):
        return _compile_text(source, env)
    if isinstance(source, (list, tuple)):
        parts = [compile_value(item, env.at(index)) for index, item in enumerate(source)]
        constant = all(part.constant for part in parts)
        return _collection(lambda scope: [part.of(scope) for part in parts], constant, env)
    if isinstance(source, Mapping):
        named = {key: compile_value(item, env.at(str(key))) for key, item in source.items()}
        constant = all(part.constant for part in named.values())
        return _collection(lambda scope: {key: part.of(scope) for key, part in named.items()}, constant, env)
    return Value(lambda _: source, True)


def _collection(of: Callable[[Scope], Any], constant: bool, env: Environment) -> Value:
    """A list or an object. With expressions in it its size is bounded, as the result of a function is."""
    if constant:
        return constant_or_late(of, True, env)

    def measured(scope: Scope) -> Any:
        try:
            return bounded(of(scope), scope.budget)
        except ValueError as error:
            raise Undecided(str(error)) from None

    return Value(measured)


def _compile_text(source: str, env: Environment) -> Value:
    if not is_expression(source):
        literal = unescaped(source)
        return Value(lambda _: literal, True)
    try:
        tree = parse(source)
    except SyntaxFault as fault:
        raise env.error(f"{fault.problem}, in {shown(source)}", fault.fix) from fault
    return compile_expression(tree, env)


def compile_expression(tree: Expression, env: Environment) -> Value:
    match tree:
        case Literal(value):
            return Value(lambda _: value, True)
        case Access(base, key, safe):
            return _access(base, key, safe, env)
        case Call(name, arguments):
            compiled = [compile_expression(argument, env) for argument in arguments]
            return _contextual(name, compiled, env) if fold(name) in CONTEXT_FUNCTIONS else _pure(name, compiled, env)


def _contextual(name: str, arguments: Sequence[Value], env: Environment) -> Value:
    function = CONTEXT_FUNCTIONS[fold(name)]
    if not function.least <= len(arguments) <= function.most:
        wanted = str(function.least) if function.least == function.most else f"{function.least} to {function.most}"
        raise env.error(f"{name}() is called with {len(arguments)} arguments", f"give it {wanted}")
    return function.compile(arguments, env)


def _pure(name: str, arguments: Sequence[Value], env: Environment) -> Value:
    function = FUNCTIONS.get(fold(name))
    if function is None:
        raise _unknown(name, env)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        problem = f"{name}() is called with {len(arguments)} arguments: {error}"
        raise env.error(problem, "give it the arguments that Azure documents") from error
    return constant_or_late(
        lambda scope: call(name, function, [argument.of(scope) for argument in arguments], scope.budget),
        all(argument.constant for argument in arguments),
        env,
    )


def _unknown(name: str, env: Environment) -> ConditionError:
    known = known_names("functions", sorted([*FUNCTIONS, *CONTEXT_FUNCTIONS]), name)
    if fold(name) in NOT_IN_RULES or fold(name).startswith("list"):
        return env.error(f"the function '{name}' is not available in policy rules", known)
    return env.error(f"unknown function {as_written(name)}", known)


def _access(base: Expression, key: Expression, safe: bool, env: Environment) -> Value:
    """Compile an access. A property that a known resource group or subscription lacks is null, as tags often are; other
    objects must have it. What is unknown about them raises `Undecided` (`values.Partly`)."""
    lenient = safe or fold(_root(base)) in ("resourcegroup", "subscription", "requestcontext", "policy")
    holder, step = compile_expression(base, env), compile_expression(key, env)

    def of(scope: Scope) -> Any:
        value, name = holder.of(scope), step.of(scope)
        if isinstance(value, (list, tuple)) and isinstance(name, int) and 0 <= name < len(value):
            return value[name]
        found = property_of(value, name) if isinstance(name, str) else MISSING
        if found is MISSING and not lenient:
            raise Undecided(f"{shown(value)} has no {shown(name)}")
        return None if found is MISSING else found

    return constant_or_late(of, holder.constant and step.constant, env)


def _root(tree: Expression) -> str:
    while isinstance(tree, Access):
        tree = tree.base
    return tree.name if isinstance(tree, Call) else ""


class Template(Struct, frozen=True):
    """A compiled value; `source` is the text or JSON that it was compiled from."""

    source: Any
    value: Value

    def of(self, resource: Resource) -> Any:
        """The value for one resource. Raises `Undecided` if it has none."""
        return self.value.of(Scope(resource, resource))


def compile_template(source: Any, parameters: Mapping[str, Any], place: str) -> Template:
    """Compile a JSON value whose strings may be expressions."""
    values = {fold(name): value for name, value in parameters.items()}
    env = Environment(values, place=place)
    try:
        return Template(source, compile_value(source, env))
    except RecursionError:
        raise env.error(*TOO_DEEP) from None
