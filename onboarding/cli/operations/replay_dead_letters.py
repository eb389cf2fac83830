"""Dead letters in a folder, as Event Grid lays them out in a container: each event is sent once, and what was taken
goes to `sent/` beside the rest.

A run that is cut off may send the events of one file again, which does nothing: an event finds its line of history.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from onboarding.cli.io import MAX_LIST, BadInput, read_text
from onboarding.cli.operations.preflight import explained
from onboarding.cli.operations.replay_input import Event, Schema, read_events
from onboarding.domain.errors import StorageError
from onboarding.settings import QUEUE

_SENT = "sent"


def send_letters[A](
    folder: str, schema: Schema, send: Callable[[Sequence[Event]], Iterable[A]], taken: Callable[[A], bool]
) -> Iterator[A]:
    """Send every event of every letter. All files are read and checked before the first event is sent."""
    root = _folder(folder)
    files = [file for file in sorted(root.rglob("*.json")) if _SENT not in file.relative_to(root).parts]
    letters = [(file, list(read_events(read_text(str(file), MAX_LIST), str(file), schema))) for file in files]
    for file, events in letters:
        answers = []
        for answer in send(events):
            answers.append(answer)
            yield answer
        _file_away(root, file, events, [taken(answer) for answer in answers])


def _file_away(root: Path, file: Path, events: Sequence[Event], taken: Sequence[bool]) -> None:
    """What was taken moves to `sent/`; what was refused stays where it is, to be sent again."""
    if not any(taken):
        return
    target = root / _SENT / file.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    if all(taken):
        file.replace(target)
        return
    for place, wanted in ((target, True), (file, False)):
        kept = [dict(event.value) for event, ok in zip(events, taken, strict=True) if ok is wanted]
        place.write_text(json.dumps(kept, indent=2), "utf-8")


def _folder(text: str) -> Path:
    if text.startswith(("https://", "http://")):
        raise BadInput(
            f"--dead-letter {text}: is a container; download it first, with `az storage blob download-batch --auth-mode"
            f" login --destination FOLDER --source {text}`, and give the folder"
        )
    if not Path(text).is_dir():
        raise BadInput(f"--dead-letter {text}: is no folder; give one that holds dead letters as .json files")
    return Path(text)


def requeue(environment: Mapping[str, str]) -> int:
    """Put them all back; 1 if one is none of ours and stays."""
    try:
        counts = asyncio.run(_give_back(environment))
    except StorageError as error:
        raise asyncio.run(explained(error, environment)) from None
    print(f"{counts[True]} messages put back on the queue {QUEUE}")
    if counts[False]:
        print(f"{counts[False]} stay in {QUEUE}-poison: they are none of ours")
    return 1 if counts[False] else 0


async def _give_back(environment: Mapping[str, str]) -> Counter[bool]:
    from onboarding.app import open_poison

    async with open_poison(environment) as poison:
        return Counter([ours async for ours in poison.requeue()])
