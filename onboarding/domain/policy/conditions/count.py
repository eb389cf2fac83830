"""`count`: how many members of an array (of the resource, or of a list in the rule) satisfy a condition.

Each member is evaluated "as if it were the only member of the array": fields that run through the array see that
member alone, and `current()` returns it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import replace
from itertools import islice
from typing import Any

from onboarding.domain.errors import as_written, known_names
from onboarding.domain.policy.conditions.aliases import EACH, Alias, Path, UnknownAlias, find_alias
from onboarding.domain.policy.conditions.environment import NOWHERE, Environment
from onboarding.domain.policy.conditions.errors import Undecided
from onboarding.domain.policy.conditions.explanation import Explanation
from onboarding.domain.policy.conditions.expressions import compile_value
from onboarding.domain.policy.conditions.fields import Member, Scope, bound, folded, steps_of
from onboarding.domain.policy.conditions.values import fold, property_of, shown

_SHOWN = 10  # members whose conditions an explanation spells out

type Members = Callable[[Scope], Iterator[tuple[Member, ...]]]


def compile_members(source: Any, env: Environment) -> tuple[str, str, Members]:
    """The array of a `count`: its name for people, its name for `current()`, and its members."""
    if not isinstance(source, Mapping):
        raise env.error(f"{shown(source)} is not a count", "write an object with 'field' or 'value'")
    keys = {fold(str(key)): str(key) for key in source}
    unknown = [key for word, key in keys.items() if word not in ("field", "value", "name", "where")]
    if unknown:
        fix = known_names("keys", ("field", "value", "name", "where"), unknown[0])
        raise env.error(f"unknown key {as_written(unknown[0])} in 'count'", fix)
    if ("field" in keys) == ("value" in keys):
        problem = f"'count' has {"both 'field' and" if 'field' in keys else "neither 'field' nor"} 'value'"
        raise env.error(problem, "give it exactly one of 'field' and 'value'")
    if "field" in keys:
        if "name" in keys:
            raise env.error("'count' has 'name' beside 'field'", "remove 'name', which is for a count of 'value'")
        return _field_members(source[keys["field"]], env.at(keys["field"]))
    return _value_members(source[keys["value"]], source.get(keys.get("name", "")), env.at(keys["value"]))


def _field_members(name: Any, env: Environment) -> tuple[str, str, Members]:
    value = compile_value(name, env)
    if not value.constant:
        return str(name), "", lambda scope: _members_late(str(value.of(scope)), env.related_type, scope)
    try:
        alias = _array(str(value.of(NOWHERE)), env.related_type)
    except UnknownAlias as error:
        raise env.error(error.problem, error.fix) from error
    return alias.name, fold(alias.name), lambda scope: _members_of(alias, fold(alias.name), scope)


def _members_late(name: str, related_type: str, scope: Scope) -> Iterator[tuple[Member, ...]]:
    """The members of an array whose name depends on a parameter's value."""
    try:
        return _members_of(_array(name, related_type), fold(name), scope)
    except UnknownAlias as error:
        raise Undecided(str(error)) from None


def _array(name: str, related_type: str) -> Alias:
    alias = find_alias(name, related_type)
    if not alias.is_array:
        raise UnknownAlias(f"{as_written(name, 200)} is not an array alias", f"write {as_written(f'{name}[*]', 200)}")
    return alias


def _members_of(alias: Alias, name: str, scope: Scope) -> Iterator[tuple[Member, ...]]:
    steps = steps_of(alias, scope.resource)
    if steps is None:
        return iter(())
    start, rest = bound(alias, scope.resource, scope.members)
    done = len(steps) - len(rest)
    return _walk(start, steps, done, name)


def _walk(value: Any, steps: Path, done: int, name: str) -> Iterator[tuple[Member, ...]]:
    """Each member of the innermost array with the members of the arrays around it, the outermost first."""
    last = len(steps) - 1 - steps[::-1].index(EACH)
    for index in range(done, last + 1):
        if steps[index] != EACH:
            value = property_of(value, steps[index])
            continue
        for item in value if isinstance(value, (list, tuple)) else ():
            member = Member(name if index == last else "", item, folded(steps[: index + 1]))
            if index == last:
                yield (member,)
            else:
                yield from ((member, *inner) for inner in _walk(item, steps, index + 1, name))
        return


def _value_members(source: Any, name: Any, env: Environment) -> tuple[str, str, Members]:
    value = compile_value(source, env)
    if name is not None and not isinstance(name, str):
        raise env.error(f"{shown(name)} is not the name of a count", "write a text, which current() then uses")
    key = fold(name or "default")

    def members(scope: Scope) -> Iterator[tuple[Member, ...]]:
        items = value.of(scope)
        if not isinstance(items, (list, tuple)):
            raise Undecided(f"count of {shown(items)}, which is not a list")
        return iter([(Member(key, item),) for item in items])

    return source if isinstance(source, str) else shown(source), key, members


def counted(members: Members, where: Callable[[Scope], bool], scope: Scope) -> int:
    number = 0
    for inner in members(scope):
        scope.budget.spend(1)
        number += where(replace(scope, members=scope.members + inner))
    return number


def explained(members: Members, where: Callable[[Scope], Explanation], scope: Scope) -> Iterator[Explanation]:
    """The explanations for the first members; none if the array is undecided."""
    try:
        each = [replace(scope, members=scope.members + inner) for inner in islice(members(scope), _SHOWN)]
    except Undecided:
        return
    yield from (where(inner) for inner in each)
