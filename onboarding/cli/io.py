"""What all commands share: the error for bad input, reading files and standard input, and JSON that is safe to print
on a terminal."""

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
    """The text of a file, or of standard input for `-`, in any encoding; a byte order mark is dropped.

    `errors="replace"` keeps a text with a damaged byte, such as a pasted message; otherwise such a text is refused."""
    with _open_input(path) as source:
        content = source.read(limit + 1)
    try:
        if len(content) > limit:
            raise too_large(limit)
        return decode(content, errors).replace("\r\n", "\n")
    except Unreadable as error:
        raise BadInput(shown(path), error.problem, error.fix) from error


def read_page(path: Path) -> str:
    """The text of a file that the command will write again; `-` is a file name here and not standard input."""
    return read_text(str(path.absolute()))


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8. Raises BadInput where it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(str(path), f"the file cannot be written: {reason}", "name another file") from error


@contextmanager
def open_text(path: str) -> Iterator[IO[str]]:
    """Open a file or standard input as text, to read it in pieces. A damaged byte is replaced and does not end the
    reading."""
    with _open_input(path) as source:
        head = b""
        # A pipe may bring its first bytes one by one.
        while len(head) < 4 and (more := source.read1(_HEAD)):  # type: ignore[attr-defined]
            head += more
        text = io.TextIOWrapper(
            cast(IO[bytes], io.BufferedReader(_PrefixedStream(head, source))), encoding_of(head), errors="replace"
        )
        yield text


def is_interactive() -> bool:
    """Whether standard input is a terminal: then nobody pipes anything in, and reading would wait for the keyboard."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def confirmed(question: str) -> bool:
    """Whether the person at the keyboard says yes; the end of the input is a no. Standard output stays free."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        return False


def shown(path: str) -> str:
    """The name of the input in messages."""
    return "standard input" if path == "-" else path


def line_of(path: str, line: int) -> str:
    """What messages call a line of the input."""
    return f"{shown(path)}:{line}"


@contextmanager
def _open_input(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file or of standard input. Raises BadInput, also for an error while they are read."""
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
        raise  # the reader of our output is gone; the input is not the problem
    except OSError as error:
        raise BadInput(shown(path), f"the input cannot be read: {error.strerror}", _GIVE_FILE) from error


class _PrefixedStream(io.RawIOBase):
    """A stream of bytes that were read already, followed by the rest of their source."""

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


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON for programs and people: letters of all languages stay, unprintable characters are escaped.

    YAML knows values that JSON does not: dates are written as text, keys that are not text are left out."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str, skipkeys=True)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(character)[1:-1]
