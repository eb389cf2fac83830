"""What every command shares: the error for bad input, the one way in for files and standard input, and JSON that steers
no terminal."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from onboarding.domain.errors import as_written, error_text
from onboarding.domain.masking import mask
from onboarding.loading.safe_reader import MAX_BYTES, Unreadable, decode, encoding_of, too_large

type Commands = argparse._SubParsersAction[argparse.ArgumentParser]

MAX_LIST = 256 * 1024 * 1024  # bytes of a list of VMs or events: each of them is small
_HEAD = 4096
_GIVE_FILE = "give a file, or - for standard input"


class CommandFailed(Exception):
    """A command cannot do its work; the text says why and what to do. Exit code 2."""


class BadInput(CommandFailed):
    """The caller's input is wrong: `problem` quotes it, `place` names the argument or file and line, `fix` says what to
    give instead. `place` is empty where nothing was given."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(error_text(place, problem, fix))
        self.place = place
        self.problem = mask(problem)
        self.fix = fix


def read_text(path: str, limit: int = MAX_BYTES, errors: str = "strict") -> str:
    """A file's text, or standard input's for `-`, whatever its encoding; a byte order mark is dropped.

    `errors="replace"` is for messages, of which one byte may be damaged; anything else is refused then."""
    with _opened(path) as source:
        content = source.read(limit + 1)
    try:
        if len(content) > limit:
            raise too_large(limit)
        return decode(content, errors).replace("\r\n", "\n")
    except Unreadable as error:
        raise BadInput(shown(path), error.problem, error.fix) from error


def read_page(path: Path) -> str:
    """The text of a file that is to be written again, which standard input cannot be."""
    return read_text(str(path.absolute()))


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8, or say why it cannot be."""
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(str(path), f"the file cannot be written: {reason}", "name another file") from error


@contextmanager
def open_text(path: str) -> Iterator[IO[str]]:
    """The same text to be read piece by piece. A byte that has no meaning is replaced, and does not stop the rest."""
    with _opened(path) as source:
        head = b""
        # A pipe may bring its first bytes one by one.
        while len(head) < 4 and (more := source.read1(_HEAD)):  # type: ignore[attr-defined]
            head += more
        text = io.TextIOWrapper(
            cast(IO[bytes], io.BufferedReader(_Joined(head, source))), encoding_of(head), errors="replace"
        )
        yield text


def nobody_pipes() -> bool:
    """Whether standard input is a terminal, at which a person would wait for an answer."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def shown(path: str) -> str:
    """What messages call the input."""
    return "standard input" if path == "-" else path


def line_of(path: str, line: int) -> str:
    """What messages call a line of the input."""
    return f"{shown(path)}:{line}"


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file or of standard input. Raises BadInput, also for what goes wrong while they are read."""
    if path == "-" and (sys.stdin is None or sys.stdin.closed):
        raise BadInput("standard input", "the input is closed", "give a file, or pipe the input in")
    if "\0" in path:
        raise BadInput("", f"{as_written(path)} is not the name of a file", _GIVE_FILE)
    try:
        if path == "-":
            yield sys.stdin.buffer
        else:
            with open(path, "rb") as file:
                yield file
    except BrokenPipeError:
        raise  # it is the output that is gone
    except OSError as error:
        raise BadInput(shown(path), f"the input cannot be read: {error.strerror}", _GIVE_FILE) from error


class _Joined(io.RawIOBase):
    """Bytes that were read already, and what follows them."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._head[: len(buffer)] or self._rest.read1(len(buffer))  # type: ignore[attr-defined]
        self._head = self._head[len(buffer) :]
        buffer[: len(found)] = found
        return len(found)


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON for programs and for people: letters of all languages as they are, everything that is not printable escaped.

    What YAML knows and JSON does not (dates, keys that are no text) is written as text, or left out."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str, skipkeys=True)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(character)[1:-1]
