"""Compiles the condition grammar to closures: `allOf`, `anyOf`, `not`, and the three kinds of condition.

Every node becomes a fast test and a slow explanation, made from the same parts so that they cannot disagree.
Anything outside the grammar is a `ConditionError` with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from onboarding.domain.errors import as_written, did_you_mean
from onboarding.domain.policy.conditions.comparison import comparison, compile_right, unspaced
from onboarding.domain.policy.conditions.count import compile_members, counted, explained
from onboarding.domain.policy.conditions.environment import Environment, Value
from onboarding.domain.policy.conditions.errors import TOO_DEEP, ConditionError, Undecided, joined
from onboarding.domain.policy.conditions.explanation import Explanation
from onboarding.domain.policy.conditions.expressions import compile_value
from onboarding.domain.policy.conditions.fields import Field, Scope
from onboarding.domain.policy.conditions.functions.context import compile_field
from onboarding.domain.policy.conditions.limits import weight
from onboarding.domain.policy.conditions.operators import Operator
from onboarding.domain.policy.conditions.values import UNKNOWN, fold, shown

_SHORT = 256  # characters of a text that costs nothing to search, however often


class Node(Struct, frozen=True):
    """A compiled condition. `test` may raise `Undecided`; `explain` never does."""

    test: Callable[[Scope], bool]
    explain: Callable[[Scope], Explanation]


def compile_node(source: Any, env: Environment) -> Node:
    """Compile one condition or logical operator, whatever the case of its keys."""
    if not isinstance(source, Mapping):
        raise env.error(f"{shown(source)} is not a condition", "write an object, such as {field: …, equals: …}")
    keys = {fold(str(key)): str(key) for key in source}
    kinds = [kind for kind in _KINDS if kind in keys]
    if len(kinds) != 1:
        raise _unclear(kinds, list(keys.values()), env)
    kind = kinds[0]
    return _KINDS[kind](source, {word: key for word, key in keys.items() if word != kind}, keys[kind], env)


def _unclear(kinds: list[str], keys: list[str], env: Environment) -> ConditionError:
    if kinds:
        both = " and ".join(map(repr, kinds))
        return env.error(f"this condition has {both}", "keep one of them, or join two conditions with allOf")
    near = [name for key in keys if (name := did_you_mean(_KIND_NAMES, key))]
    hint = f"; did you mean '{near[0]}'?" if near else ""
    given = f"has only {', '.join(as_written(key) for key in keys)}" if keys else "is empty"
    return env.error(f"this condition {given}", f"add one of {', '.join(_KIND_NAMES)}{hint}")


def _logical(decisive: bool, name: str) -> Compile:
    def compile_logical(source: Mapping[str, Any], others: Mapping[str, str], key: str, env: Environment) -> Node:
        _alone(others, key, env)
        env = env.at(key)
        if not isinstance(source[key], (list, tuple)):
            problem = f"{shown(source[key])} is not a list of conditions"
            raise env.error(problem, f"write `- {{field: …, equals: …}}` lines below `{key}:`")
        nodes = [compile_node(item, env.at(index)) for index, item in enumerate(source[key])]
        tests = [node.test for node in nodes]
        return _group(name, nodes, lambda scope: joined(decisive, tests, scope))

    return compile_logical


def _compile_not(source: Mapping[str, Any], others: Mapping[str, str], key: str, env: Environment) -> Node:
    _alone(others, key, env)
    node = compile_node(source[key], env.at(key))
    return _group("not", [node], lambda scope: not node.test(scope))


def _alone(others: Mapping[str, str], key: str, env: Environment) -> None:
    if others:
        rest = ", ".join(as_written(other) for other in others.values())
        raise env.error(f"'{key}' has {rest} beside it", f"write '{key}' alone, or join both with allOf")


def _group(name: str, nodes: Sequence[Node], test: Callable[[Scope], bool]) -> Node:
    def explain(scope: Scope) -> Explanation:
        children = tuple(node.explain(scope) for node in nodes)
        return Explanation(name, decided(test, scope).matched, children=children)

    return Node(test, explain)


class Decided(Struct, frozen=True):
    """The outcome of a test."""

    matched: bool | None  # None if it is undecided
    problem: str = ""  # why it is undecided; empty if it is decided
    unread: str = ""  # `resourceGroup` or `subscription` if reading that may decide it, else empty


_TRUE, _FALSE = Decided(True), Decided(False)


def decided(test: Callable[[Scope], bool], scope: Scope) -> Decided:
    try:
        return _TRUE if test(scope) else _FALSE
    except Undecided as reason:
        return Decided(None, str(reason), reason.unread)
    except (RecursionError, MemoryError):
        return Decided(None, "the values are too large")


def _paid(scope: Scope, left: Any, price: int, passes: int) -> bool:
    """Take the steps of one comparison from the budget, and return True."""
    scope.budget.spend(price if type(left) is str and len(left) < _SHORT else price + weight(left, passes))
    return True


def _compile_field(source: Mapping[str, Any], others: Mapping[str, str], key: str, env: Environment) -> Node:
    name = source[key]
    if not isinstance(name, str):
        problem = f"{shown(name)} is not the name of a field"
        raise env.at(key).error(problem, "write a text, such as location or tags['environment']")
    get = compile_field(compile_value(name, env.at(key)), env.at(key))
    operator, right = compile_right(source, others, env)
    compare = comparison(operator, right)

    def read(scope: Scope) -> tuple[Field, Any]:
        field = get(scope)
        return field, field.read(scope.resource, scope.members)

    def test(scope: Scope) -> bool:
        field, value = read(scope)
        holds, price, passes = compare(scope, field.is_location)
        if field.is_array:
            return all(_paid(scope, item, price, passes) and holds(item) for item in value)
        _paid(scope, value, price, passes)
        return holds(unspaced(value) if field.is_location else value)

    return Node(test, leaf(name, operator, right, test, lambda scope: read(scope)[1]))


def _compile_value(source: Mapping[str, Any], others: Mapping[str, str], key: str, env: Environment) -> Node:
    left = compile_value(source[key], env.at(key))
    operator, right = compile_right(source, others, env)
    compare = comparison(operator, right)

    def test(scope: Scope) -> bool:
        value = left.of(scope)
        holds, price, passes = compare(scope, False)
        _paid(scope, value, price, passes)
        return holds(value)

    return Node(test, leaf(_spelled(source[key]), operator, right, test, left.of))


def _compile_count(source: Mapping[str, Any], others: Mapping[str, str], key: str, env: Environment) -> Node:
    words, name, members = compile_members(source[key], env.at(key))
    conditions = [compile_node(item, env.at(key).at(word).inside(name)) for word, item in _where(source[key])]
    where = conditions[0] if conditions else _ALWAYS
    operator, right = compile_right(source, others, env)
    compare = comparison(operator, right)

    def number(scope: Scope) -> int:
        return counted(members, where.test, scope)

    def test(scope: Scope) -> bool:
        return compare(scope, False)[0](number(scope))

    def children(scope: Scope) -> Iterator[Explanation]:
        return explained(members, where.explain, scope)

    return Node(test, leaf(f"count of {words}", operator, right, test, number, children))


def _where(source: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(str(key), item) for key, item in source.items() if fold(str(key)) == "where"]


_ALWAYS = Node(lambda _: True, lambda _: Explanation("every member", True, True, True))


def leaf(
    name: str,
    operator: Operator,
    right: Value,
    test: Callable[[Scope], bool],
    left: Callable[[Scope], Any],
    children: Callable[[Scope], Iterator[Explanation]] = lambda _: iter(()),
) -> Callable[[Scope], Explanation]:
    def explain(scope: Scope) -> Explanation:
        outcome = decided(test, scope)
        expected = value_or_unknown(right.of, scope)
        return Explanation(
            f"{name} {operator.name} {shown(expected)}",
            outcome.matched,
            expected,
            value_or_unknown(left, scope),
            tuple(children(scope)),
            outcome.problem,
        )

    return explain


def value_or_unknown(read: Callable[[Scope], Any], scope: Scope) -> Any:
    try:
        return read(scope)
    except Undecided:
        return UNKNOWN


def _spelled(source: Any) -> str:
    return source if isinstance(source, str) and source else shown(source)


_KIND_NAMES: Final = ("allOf", "anyOf", "not", "field", "value", "count")

type Compile = Callable[[Mapping[str, Any], Mapping[str, str], str, Environment], Node]
_KINDS: dict[str, Compile] = {
    "allof": _logical(False, "allOf"),
    "anyof": _logical(True, "anyOf"),
    "not": _compile_not,
    "field": _compile_field,
    "value": _compile_value,
    "count": _compile_count,
}


def condition_errors(
    source: Any, parameters: Mapping[str, Any], place: str, related_type: str = ""
) -> tuple[ConditionError, ...]:
    """All errors of a condition, found by compiling each part on its own. `related_type` as for `compile_condition`."""
    values = {fold(name): value for name, value in parameters.items()}
    return tuple(_errors(source, Environment(values, place=place, related_type=related_type)))


def _errors(source: Any, env: Environment) -> Iterator[ConditionError]:
    parts = list(_parts(source, env))
    if parts:
        for part, inner in parts:
            yield from _errors(part, inner)
        return
    try:
        compile_node(source, env)
    except ConditionError as error:
        yield error
    except RecursionError:
        yield env.error(*TOO_DEEP)


def _parts(source: Any, env: Environment) -> Iterator[tuple[Any, Environment]]:
    """The conditions directly below a well-formed logical operator."""
    if not isinstance(source, Mapping) or len(source) != 1:
        return
    key, value = next(iter(source.items()))
    if fold(str(key)) in ("allof", "anyof") and isinstance(value, list):
        yield from ((item, env.at(key).at(index)) for index, item in enumerate(value))
    elif fold(str(key)) == "not":
        yield value, env.at(key)
