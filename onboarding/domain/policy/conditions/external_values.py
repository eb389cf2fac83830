"""Finds the values outside of a resource that a condition uses. The resource's body does not have them, so they may be
unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from onboarding.domain.policy.conditions.expression_syntax import (
    Access,
    Call,
    Expression,
    Literal,
    SyntaxFault,
    is_expression,
    parse,
)
from onboarding.domain.policy.conditions.values import fold

# The functions that return such values, and the properties that are always known: from the resource's own id, or of the
# request because they never change.
_ROOTS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "resourcegroup": ("resourceGroup", frozenset({"id", "name"})),
    "subscription": ("subscription", frozenset({"id", "subscriptionid"})),
    "requestcontext": ("requestContext", frozenset({"apiversion"})),
    "policy": ("policy", frozenset()),
}


def external_values_in(text: str) -> Iterator[tuple[str, str]]:
    """The function and the property of each such value in a string, `("resourceGroup", "tags")`; an empty property
    means the whole object, or a property whose name is computed. A string that is not an expression has none."""
    if not is_expression(text):
        return
    try:
        tree = parse(text)
    except SyntaxFault:
        return
    yield from _external_values(tree)


def is_call(text: str) -> bool:
    """Whether a string is an expression that calls a function, and not only a text in brackets."""
    try:
        return is_expression(text) and not isinstance(parse(text), Literal)
    except SyntaxFault:
        return False


def _external_values(tree: Expression) -> Iterator[tuple[str, str]]:
    match tree:
        case Access(base=Call(name=name, arguments=()), key=key) if fold(name) in _ROOTS:
            yield from _property(name, key)
            yield from _external_values(key)
        case Call(name=name, arguments=(Call(name=root, arguments=()), Literal() as key, *rest)) if (
            fold(name) in ("tryget", "contains") and fold(root) in _ROOTS
        ):
            yield from _property(root, key)
            for each in rest:
                yield from _external_values(each)
        case Call(name=name, arguments=()) if fold(name) in _ROOTS:
            yield _ROOTS[fold(name)][0], ""
        case Call(arguments=arguments):
            for each in arguments:
                yield from _external_values(each)
        case Access(base=base, key=key):
            yield from _external_values(base)
            yield from _external_values(key)


def _property(root: str, key: Expression) -> Iterator[tuple[str, str]]:
    name, known = _ROOTS[fold(root)]
    word = str(key.value) if isinstance(key, Literal) else ""
    if fold(word) not in known:
        yield name, word


def places(source: Any, place: str = "", skipped: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Every string in a JSON value with its place, except below the `skipped` keys (folded)."""
    todo: list[tuple[Any, str]] = [(source, place)]
    while todo:
        value, here = todo.pop()
        if isinstance(value, str):
            yield here, value
        elif isinstance(value, Mapping):
            inner = [
                (item, f"{here}.{key}" if here else str(key))
                for key, item in value.items()
                if fold(str(key)) not in skipped
            ]
            todo.extend(reversed(inner))
        elif isinstance(value, (list, tuple)):
            todo.extend((item, f"{here}[{index}]") for index, item in reversed(list(enumerate(value))))
