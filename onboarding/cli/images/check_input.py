"""Reads the items of a text one at a time, in any form: images, VMs, events.

The forms are a JSON array (also over several lines, as `az … -o json` prints it), JSON Lines, CSV with a header
(commas, semicolons or tabs), and plain URNs, also one among the columns of `-o tsv`. The whole text is never in memory.
An item that cannot be read is reported with its line and ends the reading, unless the caller wants to continue. Output
for people (tables, YAML, colours) is refused.
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

# The names of CSV columns, as people and Azure PowerShell write them, in lower case.
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
_IDENTIFYING = frozenset(_COLUMNS) - {"architecture"}
_DELIMITERS = (",", ";", "\t")
_URN = re.compile(r"[^\s:]+(?::[^\s:]+){2,3}")
_RULE = frozenset("-=+|─━┼┬┌┐ \t")  # characters of the line above or below the column names of a table for people
_NAMED = re.compile(r"(?:- *)?[\"']?[A-Za-z_]\w{0,80}[\"']? *:(?:\s|$)")  # the beginning of YAML and of `Format-List`
_NOTICES = ("WARNING: ", "#TYPE ", "sep=")  # lines that az, Export-Csv and Excel write before the data
_JSON = "print it as JSON, with `-o json` or `ConvertTo-Json -Depth 100`"
_DECODER = json.JSONDecoder()
_CHUNK = 1 << 16
_MAX_ITEM = 256 * 1024 * 1024  # characters of one line, or of one value
_INDENT = 100  # characters of the beginning of a line that are kept
# Bad values cost time: each counts the characters that were read in vain, at least _LEAST_TRIED, together _MOST_TRIED.
_LEAST_TRIED, _MOST_TRIED = 1 << 12, 1 << 24
_SPACES = re.compile(r"[\s,\ufeff]*")


class InputItem(Struct, frozen=True):
    """One item of the input, and the line where it begins."""

    value: Any
    line: int


class BadItem(Struct, frozen=True):
    """The value of an item that could not be read: the problem and the fix."""

    problem: str
    fix: str


def read_list_items(source: IO[str], name: str, *, go_on: bool = False) -> Iterator[InputItem]:
    """Every item of a text, and every item of the lists within it. Standard error warns of a list that lacks pages."""
    for item in read_items(source, name, go_on=go_on):
        if warning := missing_pages(item.value):
            print(printable(f"onboard: {name}:{item.line}: {warning}"), file=sys.stderr)
        for value in listed(item.value):
            yield InputItem(value, item.line)


def read_items(source: IO[str], name: str, *, go_on: bool = False) -> Iterator[InputItem]:
    """Every item of a text, in its order. A bad item raises BadInput, or is a `BadItem` with `go_on`."""
    for item in _items(source, name):
        if isinstance(item.value, BadItem) and not go_on:
            raise BadInput(f"{name}:{item.line}", item.value.problem, item.value.fix)
        yield item


def _items(source: IO[str], name: str) -> Iterator[InputItem]:
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


def _plain_lines(lines: Iterable[str], name: str, head: int) -> Iterator[InputItem]:
    texts = ((number, line.strip().strip("\ufeff")) for number, line in enumerate(lines, head))
    filled = ((number, text) for number, text in texts if text)
    start = list(islice(filled, 2))
    if any(set(text) <= _RULE for _, text in start):
        raise BadInput(f"{name}:{head}", "the input is a table for people", _JSON)
    for number, text in chain(start, filled):
        yield InputItem(_urn_among(text), number)


def _urn_among(text: str) -> str:
    """The URN of a line of `-o tsv` that has exactly one; any other text as it is."""
    urns = [cell for cell in text.split("\t") if _URN.fullmatch(cell)]
    return urns[0] if len(urns) == 1 else text


def _json_lines(lines: Iterable[str], head: int) -> Iterator[InputItem]:
    for number, line in enumerate(lines, head):
        if not line.strip():
            continue
        yield InputItem(read_line(line), number)


def read_line(line: str) -> Any:
    """The value of one line of JSON, or a BadItem."""
    try:
        value = json.loads(line)
        _check(value, line.count("[") + line.count("{"))
    except (ValueError, RecursionError) as error:
        return BadItem(f"the line is not JSON: {_reason(error)}", "give one object a line")
    return value


def _check(value: Any, brackets: int) -> None:
    if brackets > MAX_DEPTH:
        check_depth(value)


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, (json.JSONDecodeError, Unreadable)):
        return error.msg if isinstance(error, json.JSONDecodeError) else error.problem
    return "nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"


def _csv_rows(header: str, delimiter: str, lines: Iterator[str], head: int) -> Iterator[InputItem]:
    heads = next(csv.reader([header], delimiter=delimiter))
    columns = [_COLUMNS.get(_folded(column), column.strip()) for column in heads]
    reader = csv.DictReader(lines, fieldnames=columns, delimiter=delimiter)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield InputItem(
                BadItem(f"the line is not CSV: {error}", "close every quote"), head + reader.reader.line_num
            )
            continue
        if row is None:
            return
        yield InputItem({key: value for key, value in row.items() if key is not None and value}, head + reader.line_num)


def _json_values(chunks: Iterable[str], head: int) -> Iterator[InputItem]:
    """The elements of arrays, and single values, one after the other.

    After a value that cannot be read, the reading continues at the next line with the same indentation and the same
    first character."""
    text = _ValueScanner(iter(chunks), head)
    in_array = False
    while text.skip_spaces():
        if text.next_is("]" if in_array else "["):
            in_array = not in_array
            continue
        line = text.line
        try:
            yield InputItem(text.take_value(), line)
        except (ValueError, RecursionError) as error:
            problem = f"the text is not JSON: {_reason(error)}"
            if not text.skip_value():
                yield InputItem(BadItem(f"{problem}, and nothing after it is read", "give an array or objects"), line)
                return
            yield InputItem(BadItem(problem, "give an array or objects"), line)
    if in_array:
        yield InputItem(BadItem("the array is not closed", "give the whole file"), text.line)


class _ValueScanner:
    """Takes JSON values from a text that comes in chunks; `line` is the current line."""

    def __init__(self, chunks: Iterator[str], line: int) -> None:
        self._chunks = chunks
        self._buffer = ""
        self._at = 0
        self._line_head = ""
        self._tried = 0
        self.line = line

    def skip_spaces(self) -> bool:
        """Go to the next character that is no space or comma; False at the end."""
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
        """The value that begins here. The end of the buffer may cut a value, so after an error it reads more."""
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
        """Skip a value that could not be read; False where the beginning of the next one is unknown, or where too much
        was read in vain."""
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
        """Double the buffer, so that one long value is not parsed again for every chunk."""
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
    """The delimiter of a CSV header; empty where the line names no column that we know."""
    if ":" in header:
        return ""
    return next((each for each in _DELIMITERS if _IDENTIFYING & set(map(_folded, header.split(each)))), "")


def _folded(column: str) -> str:
    return re.sub(r"[\s\"_]", "", column).lower()
