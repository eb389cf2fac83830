"""`field`: the properties of a resource that a rule may name, each compiled to a lookup.

A field is one value, or (with `[*]`) a collection of values. A property that the resource lacks is `MISSING`, and so is
an alias of another resource type; an absent array is an empty collection, as documented.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from msgspec import Struct, field

from onboarding.domain.errors import as_written, known_names
from onboarding.domain.hidden_fields import HidingStruct
from onboarding.domain.policy.conditions.aliases import EACH, Alias, Path, UnknownAlias, find_alias, is_alias
from onboarding.domain.policy.conditions.limits import Budget
from onboarding.domain.policy.conditions.resource import Resource
from onboarding.domain.policy.conditions.values import MISSING, fold, property_of

# The names documented as fields, and the other properties that an ARM body may have next to `properties`.
_PLAIN = ("name", "kind", "type", "location", "id", "fullName", "tags")
_ROOTS = ("identity", "sku", "plan", "zones", "managedBy", "extendedLocation")
_TAG = re.compile(r"tags(?:\.(?P<dotted>.+)|\[(?P<bracket>.*)\])", re.IGNORECASE | re.DOTALL)


class Member(Struct, frozen=True):
    """The array member, or list item, for which a `count` evaluates its condition."""

    name: str  # the folded name for `current()`; empty for an array around the counted one
    value: Any
    path: Path = ()  # of its array, folded; empty for a list in the rule


class Scope(HidingStruct, frozen=True, eq=False):
    """What one evaluation reads from."""

    hidden: ClassVar[frozenset[str]] = frozenset({"budget"})

    resource: Resource  # for `field` conditions
    subject: Resource  # for the function `field()`: in an `existenceCondition` the resource of the `if`
    members: tuple[Member, ...] = ()  # of the counts around, the outermost first
    budget: Budget = field(default_factory=Budget)


class Field(Struct, frozen=True):
    """A compiled field."""

    name: str
    read: Callable[[Resource, tuple[Member, ...]], Any]  # its value, or the list of its values if it is an array
    is_array: bool = False
    is_location: bool = False
    alias: Alias | None = None  # None if the field is not an alias


def find_field(name: str, related_type: str = "") -> Field:
    """The field of that name. Raises `UnknownAlias`. `related_type` as for `find_alias`."""
    if is_alias(name) and not fold(name).startswith("tags"):
        return _alias_field(find_alias(name, related_type))
    tag = _TAG.fullmatch(name)
    if tag is not None:
        return _tag_field(name, tag["dotted"] if tag["bracket"] is None else _unquoted(tag["bracket"]))
    plain = {fold(word): word for word in _PLAIN}.get(fold(name))
    if plain is not None:
        return Field(name, _PLAIN_READERS.get(plain) or _root_reader((plain,)), is_location=plain == "location")
    steps = tuple(name.split("."))
    if any(fold(steps[0]) == fold(root) for root in _ROOTS):
        return Field(name, _root_reader(steps))
    known = (*_PLAIN, "identity.type", "tags['…']")
    raise UnknownAlias(f"unknown field {as_written(name)}", f"use an alias; {known_names('fields', known, name)}")


def steps_of(alias: Alias, resource: Resource) -> Path | None:
    """The path of the alias in this resource; None if the alias belongs to another type."""
    type_ = _type_of(resource)
    return next((path for owner, path in alias.paths if owner == type_), None)


def bound(alias: Alias, resource: Resource, members: tuple[Member, ...]) -> tuple[Any, Path]:
    """Where to start, and the steps that remain: from the innermost counted member that the path runs through, or from
    the body."""
    steps = steps_of(alias, resource)
    if steps is None:
        return MISSING, ()
    for member in reversed(members):
        if member.path and folded(steps[: len(member.path)]) == member.path:
            return member.value, steps[len(member.path) :]
    return resource.body, steps


def collect(value: Any, steps: Path) -> list[Any]:
    """The values at the end of the steps, one for each member of the arrays on the way; absent arrays have none."""
    for index, step in enumerate(steps):
        if step == EACH:
            members = value if isinstance(value, (list, tuple)) else ()
            return [found for member in members for found in collect(member, steps[index + 1 :])]
        value = property_of(value, step)
    return [value]


def folded(steps: Path) -> Path:
    return tuple(fold(step) for step in steps)


def _alias_field(alias: Alias) -> Field:
    def read_value(resource: Resource, members: tuple[Member, ...]) -> Any:
        if members:
            return _walk(*bound(alias, resource, members))
        if alias.name not in resource.known:
            resource.known[alias.name] = _walk(*bound(alias, resource, ()))
        return resource.known[alias.name]

    def read_values(resource: Resource, members: tuple[Member, ...]) -> list[Any]:
        start, steps = bound(alias, resource, members)
        return [] if start is MISSING else collect(start, steps)

    return Field(alias.name, read_values if alias.is_array else read_value, alias.is_array, alias=alias)


def _walk(value: Any, steps: Path) -> Any:
    for step in steps:
        value = property_of(value, step)
    return value


def _tag_field(name: str, tag: str) -> Field:
    def read(resource: Resource, _: tuple[Member, ...]) -> Any:
        return property_of(property_of(resource.body, "tags"), tag)

    return Field(name, read)


def _unquoted(bracket: str) -> str:
    """`'x'` → x, `'''x'''` → 'x', bare x stays."""
    if len(bracket) >= 2 and bracket[0] == bracket[-1] == "'":
        return bracket[1:-1].replace("''", "'")
    return bracket


def _root_reader(steps: Path) -> Callable[[Resource, tuple[Member, ...]], Any]:
    return lambda resource, _: _walk(resource.body, steps)


def _type_of(resource: Resource) -> str:
    known = resource.known.get(_type_of)
    if known is None:
        known = resource.known[_type_of] = fold(resource.type)
    return str(known)


def _or_missing(value: str) -> Any:
    return value or MISSING


_PLAIN_READERS: dict[str, Callable[[Resource, tuple[Member, ...]], Any]] = {
    "name": lambda resource, _: _or_missing(resource.name),
    "type": lambda resource, _: _or_missing(resource.type),
    "fullName": lambda resource, _: _or_missing(resource.full_name),
}
