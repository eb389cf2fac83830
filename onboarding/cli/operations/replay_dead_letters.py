"""Sends dead letters from a folder that has the layout of Event Grid's container: each event once; sent events move to
`sent/`. Also puts messages of the poison queue back.

If a run is interrupted, the next one may send the events of one file again. That is harmless: the history already has
an entry for the event.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from onboarding.cli.io import MAX_LIST, BadInput, read_text
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.cli.operations.replay_input import Event, Schema, read_events
from onboarding.domain.errors import StorageError, as_written
from onboarding.domain.masking import mask
from onboarding.settings import QUEUE

_SENT = "sent"


def send_dead_letters[A](
    folder: str, schema: Schema, send: Callable[[Sequence[Event]], Iterable[A]], taken: Callable[[A], bool]
) -> Iterator[A]:
    """Send every event of every file. All files are read and checked before the first event is sent."""
    root = _folder(folder)
    files = [file for file in sorted(root.rglob("*.json")) if _SENT not in file.relative_to(root).parts]
    letters = [(file, list(read_events(read_text(str(file), MAX_LIST), str(file), schema))) for file in files]
    for file, events in letters:
        answers = []
        for answer in send(events):
            answers.append(answer)
            yield answer
        _move_taken(root, file, events, [taken(answer) for answer in answers])


def _move_taken(root: Path, file: Path, events: Sequence[Event], taken: Sequence[bool]) -> None:
    """Move accepted events to `sent/`; refused events stay where they are, to be sent again."""
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
        fix = (
            "download it first, with `az storage blob download-batch --auth-mode login --destination FOLDER --source"
            f" {mask(text)}`, and give the folder"
        )
        raise BadInput("--dead-letter", f"{as_written(text, 200)} is a container, not a folder", fix)
    if not Path(text).is_dir():
        problem = f"{as_written(text, 200)} is not a folder"
        raise BadInput("--dead-letter", problem, "give one that holds dead letters as .json files")
    return Path(text)


def requeue_poison(environment: Mapping[str, str]) -> int:
    """Put the messages of the poison queue back; 1 if one stays there, because it is not a message of this app."""
    try:
        counts = asyncio.run(_requeue(environment))
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None
    print(f"{counts[True]} messages put back on the queue {QUEUE}")
    if counts[False]:
        print(f"{counts[False]} stay in {QUEUE}-poison: they are not messages of this app")
    return 1 if counts[False] else 0


async def _requeue(environment: Mapping[str, str]) -> Counter[bool]:
    from onboarding.app import open_poison

    async with open_poison(environment) as poison:
        return Counter([ours async for ours in poison.requeue()])
