"""Dead letters: a folder with the layout of Azure's blob container, one file for each event that was given up.

`<SUBSCRIPTION>/<year>/<month>/<day>/<hour>/<id>.json`, each an array of events with the reason added.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.eventgrid.schema import DeadLetter, Event, EventSchema, dead_letter


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The folder; created with the first dead letter."""

    folder: Path

    def write(self, subscription: str, schema: EventSchema, events: Sequence[Event], letter: DeadLetter) -> Path:
        at = letter.last_attempt
        folder = self.folder / subscription.upper() / f"{at.year}" / f"{at.month}" / f"{at.day}" / f"{at.hour}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4()}.json"
        path.write_text(json.dumps([dead_letter(event, schema, letter) for event in events], indent=2), "utf-8")
        return path

    def read(self) -> Iterator[dict[str, Any]]:
        """Every event that was given up, in no particular order."""
        for path in self.files():
            yield from json.loads(path.read_text("utf-8"))

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.json"))
