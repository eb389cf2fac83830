"""Template functions on strings, with the semantics of the ARM template reference (string functions).

Comparing inside functions is case-sensitive except where that reference says otherwise (`startsWith`, `indexOf`, …).
Wrong arguments raise built-in exceptions; the caller turns them into an undecided condition.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urljoin

from onboarding.domain.policy.conditions.limits import MAX_TEXT
from onboarding.domain.policy.conditions.values import as_bool

_MAX_DELIMITERS = 64
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_GUIDS = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")  # the namespace that ARM's guid() hashes in


def text(value: Any) -> str:
    """The value if it is a string. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"a string is needed, not {type(value).__name__}")
    return value


def as_string(value: Any) -> str:
    """`string()`: scalars as JSON writes them (`True` for true, as in .NET), the rest as compact JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "True" if value else "False"
    if not isinstance(value, (list, tuple, Mapping)):
        return json.dumps(value)
    return _joined(_COMPACT.iterencode(dict(value) if isinstance(value, Mapping) else value))


def _joined(parts: Iterable[str], delimiter: str = "") -> str:
    """The parts in one text. Raises as soon as the text is too long, before all of it is made."""
    kept: list[str] = []
    length = 0
    for part in parts:
        kept.append(part)
        length += len(part) + len(delimiter)
        if length > MAX_TEXT + len(delimiter):
            raise too_long()
    return delimiter.join(kept)


def too_long() -> ValueError:
    return ValueError(f"the text is longer than {MAX_TEXT:,} characters")


def concat(*parts: Any) -> Any:
    """Arrays joined to one array, everything else to a string."""
    if parts and all(isinstance(part, (list, tuple)) for part in parts):
        return [item for part in parts for item in part]
    if any(isinstance(part, (list, tuple, Mapping)) for part in parts):
        raise TypeError("strings and arrays cannot be mixed")
    return _joined("" if part is None else as_string(part) for part in parts)


def substring(value: Any, start: Any, length: Any = None) -> str:
    source = text(value)
    end = len(source) if length is None else start + length
    if start < 0 or end < start or end > len(source):
        raise ValueError("the part lies outside the string")
    return source[start:end]


def split(value: Any, delimiters: Any) -> list[str]:
    signs = [delimiters] if isinstance(delimiters, str) else [text(sign) for sign in delimiters]
    signs = [sign for sign in signs if sign]
    if len(signs) > _MAX_DELIMITERS:
        raise ValueError(f"there are more than {_MAX_DELIMITERS} delimiters")
    return re.split("|".join(map(re.escape, signs)), text(value)) if signs else [text(value)]


def join(items: Any, delimiter: Any) -> str:
    if not isinstance(items, (list, tuple)):
        raise TypeError("an array is needed")
    return _joined(("" if item is None else as_string(item) for item in items), text(delimiter))


def replace(value: Any, old: Any, new: Any) -> str:
    source, part, other = text(value), text(old), text(new)
    if not part:
        return source
    if len(source) + source.count(part) * (len(other) - len(part)) > MAX_TEXT:
        raise too_long()
    return source.replace(part, other)


def pad_left(value: Any, width: Any, sign: Any = " ") -> str:
    if width > MAX_TEXT:
        raise ValueError("the width is too large")
    return as_string(value).rjust(width, text(sign))


def format_text(pattern: Any, *arguments: Any) -> str:
    """.NET's composite format; of its format strings only zero-padding (`{0:D4}`)."""

    length = 0

    def insert(match: re.Match[str]) -> str:
        nonlocal length
        part = inserted(match)
        length += len(part)
        if length > MAX_TEXT:
            raise too_long()
        return part

    def inserted(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        value = arguments[int(match[1])]
        padded = re.fullmatch(r"[dD](\d{1,3})", match[2] or "")
        return as_string(value).rjust(int(padded[1]), "0") if padded else as_string(value)

    return re.sub(r"\{\{|\}\}|\{(\d+)(?::([^{}]*))?\}", insert, text(pattern))


def base64_to_string(value: Any) -> str:
    return base64.b64decode(text(value), validate=True).decode("utf-8")


def data_uri(value: Any) -> str:
    return "data:text/plain;charset=utf8;base64," + base64.b64encode(as_string(value).encode()).decode()


def data_uri_to_string(value: Any) -> str:
    head, comma, data = text(value).partition(",")
    if not comma or not head.startswith("data:"):
        raise ValueError("not a data URI")
    return base64_to_string(data) if head.endswith(";base64") else unquote(data)


def to_bool(value: Any) -> bool:
    flag = bool(value) if isinstance(value, (int, float)) else as_bool(value)
    if flag is None:
        raise ValueError("neither true nor false")
    return flag


def unique_string(*_: Any) -> str:
    """Assignments are named with it; Azure does not document its hash, so only Azure knows the value."""
    raise ValueError("only Azure can compute it")


TEXT_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "base64": lambda value: base64.b64encode(as_string(value).encode()).decode(),
    "base64ToJson": lambda value: json.loads(base64_to_string(value)),
    "base64ToString": base64_to_string,
    "bool": to_bool,
    "concat": concat,
    "dataUri": data_uri,
    "dataUriToString": data_uri_to_string,
    "endsWith": lambda value, end: text(value).lower().endswith(text(end).lower()),
    "format": format_text,
    "guid": lambda *parts: str(uuid.uuid5(_GUIDS, "-".join(text(part) for part in parts))),
    "indexOf": lambda value, part: text(value).lower().find(text(part).lower()),
    "join": join,
    "json": lambda value: json.loads(text(value)),
    "lastIndexOf": lambda value, part: text(value).lower().rfind(text(part).lower()),
    "padLeft": pad_left,
    "replace": replace,
    "split": split,
    "startsWith": lambda value, start: text(value).lower().startswith(text(start).lower()),
    "string": as_string,
    "substring": substring,
    "toLower": lambda value: text(value).lower(),
    "toUpper": lambda value: text(value).upper(),
    "trim": lambda value: text(value).strip(),
    "uniqueString": unique_string,
    "uri": lambda base, relative: urljoin(text(base) if text(base).endswith("/") else base + "/", text(relative)),
    "uriComponent": lambda value: quote(text(value), safe="~()*!.'-_"),
    "uriComponentToString": lambda value: unquote(text(value)),
}
