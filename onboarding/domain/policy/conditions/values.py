"""The values in a condition: JSON, and what JSON has no value for.

They are compared as Azure does: strings without case, numbers and booleans also in their string form, null as the empty
string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from onboarding.domain.policy.conditions.errors import Undecided


class Special(Enum):
    """Values that JSON does not have."""

    MISSING = "missing"  # the resource has no such property
    NOT_GIVEN = "not given"  # the parameter has neither value nor default
    UNKNOWN = "unknown"  # the value is undecided; it is shown and never compared

    def __repr__(self) -> str:
        return self.value


MISSING: Final = Special.MISSING
NOT_GIVEN: Final = Special.NOT_GIVEN
UNKNOWN: Final = Special.UNKNOWN

_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,2})?", re.ASCII)


class Partly(Mapping[str, Any]):
    """An object of which only some properties are known. The others are unknown, which is not null: reading one of
    them, or the object as a whole, raises `Undecided`.

    `root` is the function that returns the object; `unread` says that reading it from ARM would make more known."""

    __slots__ = ("_known", "_root", "_unread")

    def __init__(self, root: str, known: Mapping[str, Any], *, unread: bool = False) -> None:
        self._root = root
        self._known = {fold(name): value for name, value in known.items()}
        self._unread = root if unread else ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._known)

    def __contains__(self, name: object) -> bool:
        if isinstance(name, str) and fold(name) in self._known:
            return True
        raise self._undecided(f".{name}" if isinstance(name, str) else "")

    def __getitem__(self, name: str) -> Any:
        return self._known[fold(name)] if name in self else None

    def __iter__(self) -> Iterator[str]:
        raise self._undecided()

    def __len__(self) -> int:
        raise self._undecided()

    def _undecided(self, path: str = "") -> Undecided:
        return Undecided(f"{self._root}(){path} is not known", self._unread)


def equal(left: Any, right: Any) -> bool:
    """Azure Policy's `equals` for two present values."""
    if isinstance(left, str) or isinstance(right, str):
        return _equal_text(left, right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def _equal_text(left: Any, right: Any) -> bool:
    text, other = (left, right) if isinstance(left, str) else (right, left)
    if isinstance(other, str):
        return fold(text) == fold(other)
    if other is None:
        return not text
    if isinstance(other, bool):
        return as_bool(text) is other
    return isinstance(other, (int, float)) and as_number(text) == other


def fold(text: str) -> str:
    """The form that is the same for every spelling of a string."""
    return text.lower()


def as_text(value: Any) -> str | None:
    """The string that string operators compare; None for a value without a string form."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else None


def as_bool(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None


def as_number(value: Any) -> int | float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or _NUMBER.fullmatch(value.strip()) is None:
        return None
    return float(value) if set(value) & set(".eE") else int(value)


def property_of(value: Any, name: str) -> Any:
    """A property by name, whatever its case; `MISSING` without one."""
    if not isinstance(value, (dict, Mapping)):  # dict first: that check is faster than the ABC's
        return MISSING
    if name in value:
        return value[name]
    wanted = fold(name)
    for key, item in value.items():
        if isinstance(key, str) and fold(key) == wanted:
            return item
    return MISSING


def shown(value: Any, limit: int = 80, depth: int = 3) -> str:
    """A value as an explanation shows it; long ones are cut behind their beginning."""
    if isinstance(value, Special):
        return f"({value.value})"
    if isinstance(value, str):
        text = f"'{value[: limit * 3]}'"
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, (list, tuple)):
        head = ", ".join(shown(item, limit, depth - 1) for item in value[:4]) if depth else "…"
        text = f"[{head}{f', … {len(value)} in all' if len(value) > 4 else ''}]"
    elif isinstance(value, Partly):
        text = "{" + ", ".join((*value.names, "…")) + "}"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(str(key) for key in list(value)[:4]) + ("…}" if len(value) > 4 else "}")
    else:
        text = str(value)
    return text if len(text) <= limit * 3 else text[: limit * 3] + "…"
