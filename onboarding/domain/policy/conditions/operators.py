"""The operators of Azure Policy's conditions, which compare a `field`, `value` or `count`.

Semantics are the documented ones ("Azure Policy definition structure policy rule"). For a missing property, where the
documentation is not clear, they follow Microsoft's own evaluator (microsoft/regorus): positive operators are false and
their negations true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from onboarding.domain.policy.conditions.errors import Undecided
from onboarding.domain.policy.conditions.values import MISSING, as_bool, as_number, as_text, equal, fold, shown

type Test = Callable[[Any], bool]


class Operator(Struct, frozen=True):
    """One operator."""

    name: str
    against: Callable[[Any], Test]  # from a right side to the test of a left side
    expects: str = ""  # what the right side must be: `text`, `list`, `boolean` or `scalar`; empty for anything
    is_search: bool = False  # the right side is tried at every place of the left one


def _equals(right: Any) -> Test:
    if isinstance(right, str):
        wanted = fold(right)
        return lambda left: fold(left) == wanted if type(left) is str else left is not MISSING and equal(left, right)
    return lambda left: right is None if left is MISSING else equal(left, right)


def _in(right: Any) -> Test:
    choices = right if isinstance(right, (list, tuple)) else (right,)
    has_null = any(choice is None for choice in choices)
    present = [choice for choice in choices if choice is not None]
    words = {fold(choice) for choice in present if isinstance(choice, str)}
    others = [choice for choice in present if not isinstance(choice, str)]

    def test(left: Any) -> bool:
        if type(left) is str:
            return fold(left) in words or any(equal(left, choice) for choice in others)
        if left is MISSING:
            return has_null
        return left is not None and any(equal(left, choice) for choice in present)

    return test


def _by_pattern(compiled: Callable[[str], Callable[[str], object]]) -> Callable[[Any], Test]:
    def against(right: Any) -> Test:
        pattern = as_text(right)
        if pattern is None:
            return lambda left: False
        matches = compiled(pattern)

        def test(left: Any) -> bool:
            text = left if type(left) is str else as_text(left)
            return text is not None and bool(matches(text))

        return test

    return against


def _contains(right: Any) -> Test:
    part = as_text(right)

    def test(left: Any) -> bool:
        if isinstance(left, (list, tuple)):
            return any(equal(item, right) for item in left)
        text = as_text(left)
        return text is not None and part is not None and fold(part) in fold(text)

    return test


def _contains_key(right: Any) -> Test:
    return lambda left: isinstance(left, Mapping) and any(equal(key, right) for key in left)


def _exists(right: Any) -> Test:
    wanted = as_bool(right)
    return lambda left: (left is not MISSING and left is not None) is wanted


def _ordered(test: Callable[[int], bool]) -> Callable[[Any], Test]:
    return lambda right: lambda left: left is not MISSING and left is not None and test(_order(left, right))


def _order(left: Any, right: Any) -> int:
    """A number below, at or above 0. Two strings are compared as dates if both are dates, else without case; a string
    and a number as numbers. "If the property type doesn't match the condition type, an error is thrown"."""
    if isinstance(left, str) and isinstance(right, str):
        dates = (_date(left), _date(right))
        if dates[0] is not None and dates[1] is not None:
            return (dates[0] > dates[1]) - (dates[0] < dates[1])
        return (fold(left) > fold(right)) - (fold(left) < fold(right))
    low, high = as_number(left), as_number(right)
    if low is None or high is None:
        raise Undecided(f"{shown(left)} and {shown(right)} cannot be ordered")
    return (low > high) - (low < high)


def _date(text: str) -> datetime | None:
    if not _DATE.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta())
    except (ValueError, OverflowError):
        return None


_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@lru_cache(maxsize=4096)
def _wildcards(pattern: str) -> Callable[[str], object]:
    """`*` stands for any characters, `?` for any one.

    The parts between the stars are searched for once, from left to right: a regular expression would try every division
    of the text between the stars."""
    head, *rest = (_compiled(part, {"?": "."}, re.IGNORECASE) for part in re.split(r"\*+", pattern))
    if not rest:
        return head.fullmatch
    *middle, tail = rest
    ending = len(re.split(r"\*+", pattern)[-1])  # a part matches as many characters as it has itself

    def matches(text: str) -> bool:
        found, last = head.match(text), len(text) - ending
        for part in middle:
            found = part.search(text, found.end(), max(last, 0)) if found else None
        return found is not None and found.end() <= last and tail.fullmatch(text, last) is not None

    return matches


@lru_cache(maxsize=4096)
def _places(pattern: str, flags: int = 0) -> Callable[[str], object]:
    """`#` stands for a digit, `?` for a letter, `.` for any character."""
    return _compiled(pattern, {"#": "[0-9]", "?": "[A-Za-z]", ".": "."}, flags).fullmatch


def _compiled(pattern: str, signs: Mapping[str, str], flags: int) -> re.Pattern[str]:
    return re.compile("".join(signs.get(sign) or re.escape(sign) for sign in pattern), flags | re.DOTALL)


def _places_insensitively(pattern: str) -> Callable[[str], object]:
    return _places(pattern, re.IGNORECASE)


def _negated(against: Callable[[Any], Test]) -> Callable[[Any], Test]:
    def negated(right: Any) -> Test:
        test = against(right)
        return lambda left: not test(left)

    return negated


_NEGATABLE = (
    Operator("equals", _equals),
    Operator("like", _by_pattern(_wildcards), "text", is_search=True),
    Operator("match", _by_pattern(_places), "text"),
    Operator("matchInsensitively", _by_pattern(_places_insensitively), "text"),
    Operator("contains", _contains, "text"),
    Operator("in", _in, "list"),
    Operator("containsKey", _contains_key, "text"),
)
_PLAIN = (
    Operator("exists", _exists, "boolean"),
    Operator("less", _ordered(lambda order: order < 0), "scalar"),
    Operator("lessOrEquals", _ordered(lambda order: order <= 0), "scalar"),
    Operator("greater", _ordered(lambda order: order > 0), "scalar"),
    Operator("greaterOrEquals", _ordered(lambda order: order >= 0), "scalar"),
)


def _negation(operator: Operator) -> Operator:
    name = "not" + operator.name[0].upper() + operator.name[1:]
    return Operator(name, _negated(operator.against), operator.expects, operator.is_search)


OPERATORS: Final[Mapping[str, Operator]] = {
    fold(operator.name): operator for operator in (*_NEGATABLE, *map(_negation, _NEGATABLE), *_PLAIN)
}


def misfit(operator: Operator, right: Any) -> tuple[str, str] | None:
    """Why a constant right side does not fit the operator, and the fix; None if it fits."""
    if operator.expects == "boolean" and as_bool(right) is None:
        return f"{shown(right)} is not true or false", f"give '{operator.name}' true or false"
    if operator.expects == "list" and not isinstance(right, (list, tuple)):
        return f"{shown(right)} is not a list", f"give '{operator.name}' a list: [a, b]"
    if operator.expects in ("text", "scalar") and as_text(right) is None:
        return f"{shown(right)} is not a text or a number", f"give '{operator.name}' a text or a number"
    return None
