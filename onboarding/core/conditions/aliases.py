"""From the name of an alias to where its value lies, for one resource type or several.

Names are Azure's and are not case-sensitive. A name that is in no table is an error with a suggestion: a misspelt
alias must not read as a property that happens to be absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache

from msgspec import Struct

from onboarding.core.conditions.alias_table import (
    ALL_IN_PROPERTIES,
    BESIDE_PROPERTIES,
    MOVED,
    PROPERTIES,
    SHARED,
    TYPES,
)
from onboarding.core.conditions.values import fold

EACH = "[*]"
type Path = tuple[str, ...]
type Tree = Mapping[str, Tree]  # by the spelled name; `_ANYTHING` stands for whatever a publisher puts there

_ANYTHING = "*"


class Alias(Struct, frozen=True):
    """`paths` says for each resource type (folded) where the value is; `[*]` stands for every member of an array."""

    name: str
    paths: tuple[tuple[str, Path], ...]

    @property
    def is_array(self) -> bool:
        return any(EACH in path for _, path in self.paths)


class UnknownAlias(ValueError):
    """No table knows the alias; the text says which part of it, and what it may have meant."""


def find_alias(name: str, beside: str = "") -> Alias:
    """The alias of that name, or `UnknownAlias`. `beside` is a resource type that a condition looks at besides the
    known ones: whatever stands behind it is one of its properties."""
    shared = _shared().get(fold(name))
    if shared is not None:
        return shared
    if beside and not known_type(beside) and fold(name).startswith((fold(beside) + "/", fold(beside) + ".")):
        return Alias(name, ((fold(beside), ("properties", *_steps(name[len(beside) + 1 :]))),))
    type_, path = _split(name)
    return Alias(name, ((fold(type_), _path(type_, path, name)),))


def is_alias(name: str) -> bool:
    return "/" in name


def known_type(name: str) -> bool:
    return fold(name) in _types()


@cache
def _shared() -> dict[str, Alias]:
    return {
        fold(name): Alias(name, tuple((fold(type_), tuple(path.split("."))) for type_, path in places.items()))
        for name, places in SHARED.items()
    }


@cache
def _types() -> dict[str, str]:
    """Every known resource type, by its folded name."""
    types = {}
    for line in TYPES.replace("\n ", " ").splitlines():
        namespace, _, names = line.partition(":")
        types.update({fold(f"{namespace}/{name}"): f"{namespace}/{name}" for name in names.split()})
    return types


def _split(alias: str) -> tuple[str, str]:
    """The longest known type that the alias begins with, and the rest; types end at `/`, in old names at `.`."""
    for end in sorted((m.start() for m in re.finditer(r"[/.]", alias)), reverse=True):
        type_ = _types().get(fold(alias[:end]))
        if type_ is not None:
            return type_, alias[end + 1 :]
    if known_type(alias):
        raise UnknownAlias(f"unknown alias '{alias}': this is a resource type; name a property of it")
    namespace = alias.partition("/")[0]
    if not any(known.startswith(fold(namespace) + "/") for known in _types()):
        raise UnknownAlias(f"unknown alias '{alias}': no resource provider '{namespace}' is known here")
    near = get_close_matches(fold(alias), [*_shared(), *_types()], n=1)
    hint = f"; did you mean '{_spelled(near[0])}'?" if near else ""
    raise UnknownAlias(f"unknown alias '{alias}': no resource type of it is known here{hint}")


def _spelled(folded: str) -> str:
    shared = _shared().get(folded)
    return shared.name if shared else _types()[folded]


def _path(type_: str, path: str, alias: str) -> Path:
    for old, new in MOVED.get(type_, {}).items():
        rest = path[len(old) :]
        if fold(path[: len(old)]) == fold(old) and rest[:1] in ("", ".", "["):
            return _steps(new + rest)
    steps = _steps(path)
    if not steps:
        raise UnknownAlias(f"unknown alias '{alias}': name a property of '{type_}'")
    own = ALL_IN_PROPERTIES.get(type_, frozenset())
    if _in(steps[0], BESIDE_PROPERTIES) and not _in(steps[0], own):
        return steps
    if type_ in PROPERTIES:
        _check(steps, _tree(type_), alias)
    return ("properties", *steps)


def _in(word: str, words: frozenset[str]) -> bool:
    return any(fold(word) == fold(other) for other in words)


def _steps(path: str) -> Path:
    """`a.b[*].c/d` → a, b, [*], c, d."""
    return tuple(step for step in re.split(r"[./]|(\[\*\])", path) if step)


def _check(steps: Path, tree: Tree, alias: str) -> None:
    for step in steps:
        if step == EACH:
            continue
        if _ANYTHING in tree:
            return
        known = next((name for name in tree if fold(name) == fold(step)), None)
        if known is None:
            near = get_close_matches(step, tree, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UnknownAlias(f"unknown alias '{alias}': there is no property '{step}'{hint}")
        tree = tree[known]


@cache
def _tree(type_: str) -> Tree:
    return _read_tree(iter(re.findall(r"[\w*]+|\(|\)", PROPERTIES[type_])))


def _read_tree(tokens: Iterator[str]) -> Tree:
    tree: dict[str, Tree] = {}
    last = ""
    for token in tokens:
        if token == ")":
            break
        if token == "(":
            tree[last] = _read_tree(tokens)
        else:
            last = token
            tree[last] = {}
    return tree
