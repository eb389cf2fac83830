"""Output of the product as JSON, without texts for people, secrets, and values that differ between runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

_TEXTS = frozenset({"Reason", "ErrorMeaning", "Advice", "Message", "Because"})
_RANDOM = frozenset(
    {
        "VmId",
        "EventId",
        "CorrelationId",
        "ClientRequestId",
        "WriteId",
        "DurationMs",
        "UndoneAt",
        "Timestamp",
        "odata.etag",
    }
)
_FEW_BLANKS = 2


def without_prose(value: Any) -> Any:
    """The value as JSON, without texts for people, with masked secrets, and bytes as their digest."""
    if isinstance(value, Mapping):
        shown = {str(key): without_prose(each) for key, each in value.items() if key not in _TEXTS}
        if isinstance(secrets := shown.get("protectedSettings"), dict):
            shown["protectedSettings"] = dict.fromkeys(secrets, "***")
        return shown
    if isinstance(value, list | tuple):
        return [without_prose(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return sha256(value).hexdigest() if isinstance(value, bytes) else value


def timeless(entity: Mapping[str, Any]) -> dict[str, Any]:
    """An entity of the table, or a row as a command prints it, with `…` for times, event ids and durations."""
    shown = {name: "…" if _passing(name, value) else value for name, value in entity.items()}
    if "RowKey" in shown:
        kind, *rest = str(shown["RowKey"]).split("|")
        if kind == "log":  # log|group|vm|extension|inverted time|event
            rest = [*rest[:3], "…", "ended" if rest[-1].endswith(".ended") else "…"]
        elif kind == "unpublished":
            rest = [*rest[:3], "…"]
        shown["RowKey"] = "|".join([kind, *rest])
    return dict(without_prose(shown))


def _passing(name: str, value: Any) -> bool:
    moment = isinstance(value, datetime | bytes) or (name.endswith(("At", "Time", "Since", "Until")) and bool(value))
    return moment or name in _RANDOM


def wordless(value: Any) -> Any:
    """The output of a command, with `…` for each text of more than a few words."""
    if isinstance(value, Mapping):
        return {key: wordless(each) for key, each in value.items()}
    if isinstance(value, list):
        return [wordless(each) for each in value]
    return "…" if isinstance(value, str) and value.count(" ") >= _FEW_BLANKS else value


def json_line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def write(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{each}\n" for each in lines), "utf-8")
