"""Reading foreign JSON without ever raising: what is not of the expected type counts as absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, (dict, Mapping)) else {}  # dict first: it is told without asking the ABC


def items(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, (list, tuple)):
        yield from (item for item in value if isinstance(item, (dict, Mapping)))


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
