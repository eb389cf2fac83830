"""Explains why a condition matched or not: a tree of its parts, and its rendering for people.

Pure values; `render` writes one line a node, with ✓, ✗, or ? for undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from onboarding.domain.json_access import printable
from onboarding.domain.policy.conditions.values import Partly, Special, shown


class Explanation(Struct, frozen=True):
    """One node of the tree."""

    text: str  # the condition, in words
    matched: bool | None  # None if it is undecided
    expected: Any = None  # of a leaf: the right side's value
    actual: Any = None  # of a leaf: the left side's value
    children: tuple[Explanation, ...] = ()  # empty for a leaf
    problem: str = ""  # why it is undecided; empty if it is decided

    @property
    def is_leaf(self) -> bool:
        return not self.children

    def as_dict(self) -> dict[str, Any]:
        """The tree as JSON; a missing property differs from null."""
        own: dict[str, Any] = {"text": self.text, "matched": self.matched}
        if self.problem:
            own["problem"] = self.problem
        if self.children:
            return own | {"children": [child.as_dict() for child in self.children]}
        return own | {"expected": json_value(self.expected), "actual": json_value(self.actual)}


def json_value(value: Any) -> Any:
    if isinstance(value, Partly):
        return shown(value)
    return f"({value.value})" if isinstance(value, Special) else value


def render(tree: Explanation, indent: str = "  ") -> str:
    """The whole tree, one line a node."""
    return "\n".join(_lines(tree, "", indent))


def _lines(tree: Explanation, margin: str, indent: str) -> Iterator[str]:
    yield f"{margin}{_SIGNS[tree.matched]} {line(tree)}"
    for child in tree.children:
        yield from _lines(child, margin + indent, indent)


_LOGICAL = ("allOf", "anyOf", "not")
_SIGNS: Mapping[bool | None, str] = {True: "✓", False: "✗", None: "?"}


def line(node: Explanation) -> str:
    """One node in words, on one line; for a leaf with its actual value."""
    if node.problem:
        return printable(f"{node.text}: {node.problem}")
    return node.text if node.text in _LOGICAL else printable(f"{node.text}: {shown(node.actual)}")


def decisive(tree: Explanation, limit: int = 5) -> tuple[str, ...]:
    """The lines that decided the outcome: what failed first, or what made it match."""
    lines = list(dict.fromkeys(_decisive(tree)))
    return tuple(lines[:limit] + ([f"… and {len(lines) - limit} more"] if len(lines) > limit else []))


def _decisive(tree: Explanation) -> Iterator[str]:
    same = [child for child in tree.children if child.matched is tree.matched]
    if tree.is_leaf or tree.text not in _LOGICAL:
        yield f"{_SIGNS[tree.matched]} {line(tree)}"
    elif tree.text == "not":
        yield from (f"not ({reason})" for reason in _decisive(tree.children[0]))
    elif tree.text == "anyOf" and tree.matched is False:
        nearest = max(same, key=_share_that_matched)
        yield f"✗ none of {len(same)} alternatives; nearest: {' and '.join(_decisive(nearest))}"
    else:
        every = tree.matched is None or (tree.text == "allOf" and tree.matched)
        for child in same if every else same[:1]:
            yield from _decisive(child)


def _share_that_matched(tree: Explanation) -> float:
    """The share of an alternative that matched, from 0 to 1."""
    if not tree.children:
        return 1.0 if tree.matched else 0.0
    return sum(_share_that_matched(child) for child in tree.children) / len(tree.children)
