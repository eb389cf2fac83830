"""Reads the items of a text, one at a time, whatever form it has: images, VMs, events.

A JSON array (also one spread over lines, as `az … -o json` prints it), JSON Lines, CSV with a header (with commas,
semicolons or tabs), or plain URNs, also one among the columns of `-o tsv`. Nothing holds the whole text in memory; what
cannot be read is named by its line, and ends the reading unless the caller goes on; forms for people (tables, YAML,
colours) are refused as a whole.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import IO, Any

from msgspec import Struct

from onboarding.cli.io import BadInput
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_formats import listed, missing_pages
from onboarding.loading.safe_reader import MAX_DEPTH, Unreadable, check_depth

# As people and Azure PowerShell head their columns.
_COLUMNS = {
    "publisher": "publisher",
    "publishername": "publisher",
    "imagepublisher": "publisher",
    "offer": "offer",
    "imageoffer": "offer",
    "sku": "sku",
    "skus": "sku",
    "imagesku": "sku",
    "version": "version",
    "imageversion": "version",
    "urn": "urn",
    "architecture": "architecture",
    "osname": "osName",
    "osversion": "osVersion",
}
_TELLING = frozenset(_COLUMNS) - {"architecture"}
_DELIMITERS = (",", ";", "\t")
_URN = re.compile(r"[^\s:]+(?::[^\s:]+){2,3}")
_RULE = frozenset("-=+|─━┼┬┌┐ \t")  # of these is the line above or below the heads of a table for people
_NAMED = re.compile(r"(?:- *)?[\"']?[A-Za-z_]\w{0,80}[\"']? *:(?:\s|$)")  # so begin YAML and `Format-List`
_NOTICES = ("WARNING: ", "#TYPE ", "sep=")  # lines before the data, of az, Export-Csv and Excel
_JSON = "print it as JSON, with `-o json` or `ConvertTo-Json -Depth 100`"
_DECODER = json.JSONDecoder()
_CHUNK = 1 << 16
_MAX_ITEM = 256 * 1024 * 1024  # characters of one line, or of one value
_INDENT = 100  # characters of a line's beginning that are kept
_LEAST_TRIED, _MOST_TRIED = 1 << 12, 1 << 24  # characters read in vain: what each bad value counts at least, and all
_SPACES = re.compile(r"[\s,\ufeff]*")


class Item(Struct, frozen=True):
    """One thing to check, and where it stood."""

    value: Any
    line: int


class Unread(Struct, frozen=True):
    """The value of an item that could not be read: what is wrong with it, and the fix."""

    problem: str
    fix: str


def read_listed(source: IO[str], name: str, *, go_on: bool = False) -> Iterator[Item]:
    """Every item of a text, those of lists within it one by one. A list that is not whole is said on standard error."""
    for item in read_items(source, name, go_on=go_on):
        if told := missing_pages(item.value):
            print(printable(f"onboard: {name}:{item.line}: {told}"), file=sys.stderr)
        for value in listed(item.value):
            yield Item(value, item.line)


def read_items(source: IO[str], name: str, *, go_on: bool = False) -> Iterator[Item]:
    """Every item of a text, in its order. One that cannot be read raises BadInput, or is `Unread` where the caller goes
    on."""
    for item in _items(source, name):
        if isinstance(item.value, Unread) and not go_on:
            raise BadInput(f"{name}:{item.line}", item.value.problem, item.value.fix)
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
    elif delimiter := _delimiter(text):
        yield from _csv_rows(text, delimiter, _lines(source, name), head)
    else:
        _refuse_forms_for_people(text, f"{name}:{head}")
        yield from _plain_lines(chain([first], _lines(source, name)), name, head)


def _first_line(source: IO[str], name: str) -> tuple[int, str]:
    for number, line in enumerate(_lines(source, name), 1):
        text = line.lstrip("\ufeff")
        if text.strip() and not text.startswith(_NOTICES):
            return number, text
    raise BadInput(name, "the input is empty", "give JSON, JSON Lines, CSV or one image's URN a line")


def _refuse_forms_for_people(text: str, place: str) -> None:
    if "\x1b" in text:
        raise BadInput(place, "the input has colours for a terminal", _JSON)
    if text == "---" or (_NAMED.match(text) and text.count(":") not in (2, 3)):
        raise BadInput(place, "the input is YAML or a list for people", _JSON)
    if text.startswith("<"):
        raise BadInput(place, "the input is XML or a web page", _JSON)


def _lines(source: IO[str], name: str) -> Iterator[str]:
    while line := source.readline(_MAX_ITEM + 1):
        if len(line) > _MAX_ITEM:
            problem = f"the input has a line of more than {_MAX_ITEM // 1024**2} MiB"
            raise BadInput(name, problem, "give one item a line")
        yield line


def _plain_lines(lines: Iterable[str], name: str, head: int) -> Iterator[Item]:
    texts = ((number, line.strip().strip("\ufeff")) for number, line in enumerate(lines, head))
    told = ((number, text) for number, text in texts if text)
    start = list(islice(told, 2))
    if any(set(text) <= _RULE for _, text in start):
        raise BadInput(f"{name}:{head}", "the input is a table for people", _JSON)
    for number, text in chain(start, told):
        yield Item(_urn_among(text), number)


def _urn_among(text: str) -> str:
    """The one URN among columns without heads, which `-o tsv` prints; a text that is no such line as it is."""
    urns = [cell for cell in text.split("\t") if _URN.fullmatch(cell)]
    return urns[0] if len(urns) == 1 else text


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
        return Unread(f"the line is not JSON: {_told(error)}", "give one object a line")
    return value


def _check(value: Any, brackets: int) -> None:
    if brackets > MAX_DEPTH:
        check_depth(value)


def _told(error: ValueError | RecursionError) -> str:
    if isinstance(error, (json.JSONDecodeError, Unreadable)):
        return error.msg if isinstance(error, json.JSONDecodeError) else error.problem
    return "nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"


def _csv_rows(header: str, delimiter: str, lines: Iterator[str], head: int) -> Iterator[Item]:
    heads = next(csv.reader([header], delimiter=delimiter))
    columns = [_COLUMNS.get(_folded(column), column.strip()) for column in heads]
    reader = csv.DictReader(lines, fieldnames=columns, delimiter=delimiter)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield Item(Unread(f"the line is not CSV: {error}", "close every quote"), head + reader.reader.line_num)
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
            problem = f"the text is not JSON: {_told(error)}"
            if not text.skip_value():
                yield Item(Unread(f"{problem}, and nothing after it is read", "give an array or objects"), line)
                return
            yield Item(Unread(problem, "give an array or objects"), line)
    if in_array:
        yield Item(Unread("the array is not closed", "give the whole file"), text.line)


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


def _delimiter(header: str) -> str:
    """What separates the columns that the line heads; empty where it heads none that we know."""
    if ":" in header:
        return ""
    return next((each for each in _DELIMITERS if _TELLING & set(map(_folded, header.split(each)))), "")


def _folded(column: str) -> str:
    return re.sub(r"[\s\"_]", "", column).lower()
