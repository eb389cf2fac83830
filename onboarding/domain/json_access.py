"""Reads foreign JSON without ever raising (a value of another type counts as absent), and makes texts printable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, (dict, Mapping)) else {}  # dict first: that check is faster than the ABC's


def items(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, (list, tuple)):
        yield from (item for item in value if isinstance(item, (dict, Mapping)))


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def stamp(time: datetime | None) -> str:
    """A time as programs read it, in whole seconds; empty: without one."""
    return time.isoformat(timespec="seconds") if time else ""


def printable(value: str, *, lines: bool = False) -> str:
    """The text with `?` for every character that could control a terminal: control characters, line breaks and marks of
    direction such as U+202E, which reverses what follows. With `lines` the line breaks stay."""
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() or (lines and c == "\n") else "?" for c in value)


def flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def digest(value: object) -> str:
    """A digest of a value as JSON, 16 hexadecimal characters, the same for every order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]


def json_type(value: Any) -> str:
    """The type of a value in the words of JSON Schema; empty for null and for a value that JSON does not know."""
    match value:
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case Mapping():
            return "object"
    return ""
