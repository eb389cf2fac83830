"""Reads the items that `onboard check` is asked about, one at a time, whatever form the file has.

A JSON array (also one spread over lines, as `az … -o json` prints it), JSON Lines, CSV with a header, or plain URNs.
Nothing holds the whole file in memory; what cannot be read is named by its line, and ends the reading unless the caller
goes on.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any

from onboarding.cli.io import BadInput
from onboarding.reading import MAX_DEPTH, Unreadable, check_depth

_COLUMNS = {"publisher", "offer", "sku", "version", "urn", "osname", "osversion"}
_CANONICAL = {"osname": "osName", "osversion": "osVersion"}
_DECODER = json.JSONDecoder()
_CHUNK = 1 << 16
_MAX_ITEM = 256 * 1024 * 1024  # characters of one line, or of one value
_INDENT = 100  # characters of a line's beginning that are kept
_LEAST_TRIED, _MOST_TRIED = 1 << 12, 1 << 24  # characters read in vain: what each bad value counts at least, and all
_SPACES = re.compile(r"[\s,\ufeff]*")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to check, and where it stood."""

    value: Any
    line: int


@dataclass(frozen=True, slots=True)
class Unread:
    """The value of an item that could not be read: what is wrong with it, and the fix."""

    problem: str


def read_items(source: IO[str], name: str, *, go_on: bool = False) -> Iterator[Item]:
    """Every item of a text, in its order. One that cannot be read raises BadInput, or is `Unread` where the caller goes
    on."""
    for item in _items(source, name):
        if isinstance(item.value, Unread) and not go_on:
            raise BadInput(f"{name}, line {item.line}: {item.value.problem}")
        yield item


def _items(source: IO[str], name: str) -> Iterator[Item]:
    head, first = _first_line(source, name)
    text = first.strip()
    if text.startswith("["):
        yield from _json_values(chain([first], _chunks(source)), head)
    elif text.startswith("{"):
        if _is_json(text):
            yield from _json_lines(chain([first], _lines(source, name)), head)
        else:
            yield from _json_values(chain([first], _chunks(source)), head)
    elif _is_header(text):
        yield from _csv_rows(text, _lines(source, name), head)
    else:
        yield from _plain_lines(chain([first], _lines(source, name)), head)


def _first_line(source: IO[str], name: str) -> tuple[int, str]:
    for number, line in enumerate(_lines(source, name), 1):
        if line.strip():
            return number, line
    raise BadInput(f"{name}: is empty; give images as JSON, JSON Lines, CSV or one URN a line")


def _lines(source: IO[str], name: str) -> Iterator[str]:
    while line := source.readline(_MAX_ITEM + 1):
        if len(line) > _MAX_ITEM:
            raise BadInput(f"{name}: has a line of more than {_MAX_ITEM // 1024**2} MiB; give one item a line")
        yield line


def _plain_lines(lines: Iterable[str], head: int) -> Iterator[Item]:
    for number, line in enumerate(lines, head):
        if text := line.strip():
            yield Item(text, number)


def _json_lines(lines: Iterable[str], head: int) -> Iterator[Item]:
    for number, line in enumerate(lines, head):
        if not line.strip():
            continue
        yield Item(read_line(line), number)


def read_line(line: str) -> Any:
    """The value of one line of JSON, or Unread."""
    try:
        value = json.loads(line)
        _check(value, line.count("[") + line.count("{"))
    except (ValueError, RecursionError) as error:
        return Unread(f"is no JSON ({_told(error)}); give one object a line")
    return value


def _check(value: Any, brackets: int) -> None:
    if brackets > MAX_DEPTH:
        check_depth(value)


def _told(error: ValueError | RecursionError) -> str:
    if isinstance(error, (json.JSONDecodeError, Unreadable)):
        return error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return "nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"


def _csv_rows(header: str, lines: Iterator[str], head: int) -> Iterator[Item]:
    columns = [_CANONICAL.get(column.strip().lower(), column.strip()) for column in next(csv.reader([header]))]
    columns = [column.lower() if column.lower() in _COLUMNS else column for column in columns]
    reader = csv.DictReader(lines, fieldnames=columns)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield Item(Unread(f"is no CSV ({error}); is a quote not closed?"), head + reader.reader.line_num)
            continue
        if row is None:
            return
        yield Item({key: value for key, value in row.items() if key is not None and value}, head + reader.line_num)


def _json_values(chunks: Iterable[str], head: int) -> Iterator[Item]:
    """The elements of the arrays, and the single values, that a text holds one after the other. Behind one that cannot
    be read, the next begins on a line of its own that is indented as much."""
    text = _Text(iter(chunks), head)
    in_array = False
    while text.skip_spaces():
        if text.next_is("]" if in_array else "["):
            in_array = not in_array
            continue
        line = text.line
        try:
            yield Item(text.take_value(), line)
        except (ValueError, RecursionError) as error:
            told = f"is no JSON ({_told(error)})"
            if not text.skip_value():
                yield Item(Unread(f"{told}, and nothing behind it is read; give an array or objects"), line)
                return
            yield Item(Unread(f"{told}; give an array or objects"), line)
    if in_array:
        yield Item(Unread("the array is not closed; is the file whole?"), text.line)


class _Text:
    """A window on a text that comes in chunks; `line` is where the window stands."""

    def __init__(self, chunks: Iterator[str], line: int) -> None:
        self._chunks = chunks
        self._buffer = ""
        self._at = 0
        self._line_head = ""
        self._tried = 0
        self.line = line

    def skip_spaces(self) -> bool:
        """Go to the next character that counts; False at the end."""
        while True:
            match = _SPACES.match(self._buffer, self._at)
            self._advance(match.end() if match else self._at)
            if self._at < len(self._buffer):
                return True
            if not self._read_more():
                return False

    def next_is(self, character: str) -> bool:
        found = self._buffer[self._at] == character
        if found:
            self._advance(self._at + 1)
        return found

    def take_value(self) -> Any:
        """The value that begins here. A value may be cut by the end of the window, so failure means: read on."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._read_more():
                    self._tried += error.pos - self._at
                    raise
            except RecursionError:
                self._tried += _CHUNK
                raise
            else:
                _check(value, self._buffer.count("[", self._at, end) + self._buffer.count("{", self._at, end))
                self._advance(end)
                return value

    def skip_value(self) -> bool:
        """Go on behind a value that could not be taken; False where no line tells the next one's beginning, or where
        too much was tried in vain."""
        self._tried += _LEAST_TRIED
        indent, first = self._line_head, self._buffer[self._at]
        if indent.strip(" \t") or self._tried > _MOST_TRIED:
            return False
        found = self._buffer.find(f"\n{indent}{first}", self._at)
        if found < 0:
            return False
        self._advance(found)
        return True

    def _advance(self, to: int) -> None:
        passed = self._buffer[self._at : to]
        if breaks := passed.count("\n"):
            self.line += breaks
            self._line_head, passed = "", passed[passed.rfind("\n") + 1 :]
        self._line_head = f"{self._line_head}{passed[:_INDENT]}"[:_INDENT]
        self._at = to

    def _read_more(self) -> bool:
        """Each time as much again as is there, so that one long value is not tried at every chunk."""
        rest = self._buffer[self._at :]
        if len(rest) > _MAX_ITEM:
            return False
        more = "".join(islice(self._chunks, 1 + len(rest) // _CHUNK))
        self._buffer, self._at = rest + more, 0
        return bool(more)


def _chunks(source: IO[str]) -> Iterator[str]:
    while text := source.read(_CHUNK):
        yield text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_header(text: str) -> bool:
    columns = {column.strip().strip('"').lower() for column in text.split(",")}
    return bool(columns & _COLUMNS) and ":" not in text
