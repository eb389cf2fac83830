"""The content of storage at the end, read from Azurite's own folder: also hidden messages, which no client can read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_QUEUES = "__azurite_db_queue__.json"
_TEXTS = "__queuestorage__"
_MESSAGES = "$MESSAGES_COLLECTION$"


@dataclass(frozen=True, slots=True)
class ScheduledCheckText:
    """The message of one scheduled check; `extension` is empty if it is about the whole VM."""

    vm: str
    extension: str
    due: datetime


def checks(folder: Path) -> list[ScheduledCheckText]:
    """Every scheduled check on the queue, hidden or not."""
    return [check for text in messages(folder, "deferrals") if (check := check_of(text))]


def check_of(text: str) -> ScheduledCheckText | None:
    """The scheduled check in a message; None for a reconcile request, and for what we do not know."""
    try:
        raw = json.loads(text)
        vm, due, extension = raw["vm"].lower(), datetime.fromisoformat(raw["due"]), raw.get("extension") or ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return None if "reason" in raw else ScheduledCheckText(vm, str(extension), due)


def messages(folder: Path, queue: str) -> Iterator[str]:
    """The texts of a queue's messages. Azurite must have been stopped normally."""
    file = folder / _QUEUES
    stored = json.loads(file.read_text("utf-8"))["collections"] if file.is_file() else []
    for collection in stored:
        if collection["name"] == _MESSAGES:
            for message in collection["data"]:
                if message["queueName"] == queue:
                    yield _text(folder, message["persistency"])


def everything(folder: Path) -> str:
    """The text of all files, for a search."""
    return "\n".join(file.read_text("utf-8", errors="replace") for file in folder.rglob("*") if file.is_file())


def _text(folder: Path, place: dict[str, object]) -> str:
    start, size = int(str(place["offset"])), int(str(place["count"]))
    return (folder / _TEXTS / str(place["id"])).read_bytes()[start : start + size].decode()
