"""Reads the items of a text, one at a time, whatever form it has: images, VMs, events.

A JSON array (also one spread over lines, as `az … -o json` prints it), JSON Lines, CSV with a header (with commas,
semicolons or tabs), or plain URNs, also one among the columns of `-o tsv`. Nothing holds the whole text in memory; what
cannot be read is named by its line, and forms for people (tables, YAML, colours) are refused as a whole.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any

from onboarding.cli.io import BadInput
from onboarding.core.foreign import printable
from onboarding.core.vm_forms import listed, missing_pages
from onboarding.reading import MAX_DEPTH, Unreadable, check_depth

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
_SPACES = re.compile(r"[\s,\ufeff]*")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to check, and where it stood."""

    value: Any
    line: int


def read_listed(source: IO[str], name: str) -> Iterator[Item]:
    """Every item of a text, those of lists within it one by one. A list that is not whole is said on standard error."""
    for item in read_items(source, name):
        if told := missing_pages(item.value):
            print(printable(f"onboard: {name}, line {item.line}: {told}"), file=sys.stderr)
        for value in listed(item.value):
            yield Item(value, item.line)


def read_items(source: IO[str], name: str) -> Iterator[Item]:
    """Every item of a text, in its order."""
    head, first = _first_line(source, name)
    text = first.strip()
    if text.startswith("["):
        yield from _json_values(chain([first], _chunks(source)), name, head)
    elif text.startswith("{"):
        if _is_json(text):
            yield from _json_lines(chain([first], _lines(source, name)), name, head)
        else:
            yield from _json_values(chain([first], _chunks(source)), name, head)
    elif delimiter := _delimiter(text):
        yield from _csv_rows(text, delimiter, _lines(source, name), name, head)
    else:
        _refuse_forms_for_people(text, f"{name}, line {head}")
        yield from _plain_lines(chain([first], _lines(source, name)), name, head)


def _first_line(source: IO[str], name: str) -> tuple[int, str]:
    for number, line in enumerate(_lines(source, name), 1):
        text = line.lstrip("\ufeff")
        if text.strip() and not text.startswith(_NOTICES):
            return number, text
    raise BadInput(f"{name}: is empty; give JSON, JSON Lines, CSV or one image's URN a line")


def _refuse_forms_for_people(text: str, place: str) -> None:
    if "\x1b" in text:
        raise BadInput(f"{place}: holds colours for a terminal; {_JSON}")
    if text == "---" or (_NAMED.match(text) and text.count(":") not in (2, 3)):
        raise BadInput(f"{place}: is YAML or a list for people; {_JSON}")
    if text.startswith("<"):
        raise BadInput(f"{place}: is XML or a web page; {_JSON}")


def _lines(source: IO[str], name: str) -> Iterator[str]:
    while line := source.readline(_MAX_ITEM + 1):
        if len(line) > _MAX_ITEM:
            raise BadInput(f"{name}: has a line of more than {_MAX_ITEM // 1024**2} MiB; give one item a line")
        yield line


def _plain_lines(lines: Iterable[str], name: str, head: int) -> Iterator[Item]:
    texts = ((number, line.strip().strip("\ufeff")) for number, line in enumerate(lines, head))
    told = ((number, text) for number, text in texts if text)
    start = list(islice(told, 2))
    if any(set(text) <= _RULE for _, text in start):
        raise BadInput(f"{name}, line {head}: is a table for people; {_JSON}")
    for number, text in chain(start, told):
        yield Item(_urn_among(text), number)


def _urn_among(text: str) -> str:
    """The one URN among columns without heads, which `-o tsv` prints; a text that is no such line as it is."""
    urns = [cell for cell in text.split("\t") if _URN.fullmatch(cell)]
    return urns[0] if len(urns) == 1 else text


def _json_lines(lines: Iterable[str], name: str, head: int) -> Iterator[Item]:
    for number, line in enumerate(lines, head):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            _check(value, line.count("[") + line.count("{"))
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{name}, line {number}: is no JSON ({_told(error)}); give one object a line") from None
        yield Item(value, number)


def _check(value: Any, brackets: int) -> None:
    if brackets > MAX_DEPTH:
        check_depth(value)


def _told(error: ValueError | RecursionError) -> str:
    if isinstance(error, (json.JSONDecodeError, Unreadable)):
        return error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return "nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"


def _csv_rows(header: str, delimiter: str, lines: Iterator[str], name: str, head: int) -> Iterator[Item]:
    heads = next(csv.reader([header], delimiter=delimiter))
    columns = [_COLUMNS.get(_folded(column), column.strip()) for column in heads]
    reader = csv.DictReader(lines, fieldnames=columns, delimiter=delimiter)
    try:
        for row in reader:
            yield Item({key: value for key, value in row.items() if key is not None and value}, head + reader.line_num)
    except csv.Error as error:
        raise BadInput(f"{name}, line {head + reader.line_num}: is no CSV ({error}); is a quote not closed?") from None


def _json_values(chunks: Iterable[str], name: str, head: int) -> Iterator[Item]:
    """The elements of the arrays, and the single values, that a text holds one after the other."""
    text = _Text(iter(chunks), head)
    in_array = False
    while text.skip_spaces():
        if text.next_is("]" if in_array else "["):
            in_array = not in_array
            continue
        line = text.line
        try:
            value = text.take_value()
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{name}, line {line}: is no JSON ({_told(error)}); give an array or objects") from None
        yield Item(value, line)
    if in_array:
        raise BadInput(f"{name}, line {text.line}: the array is not closed; is the file whole?")


class _Text:
    """A window on a text that comes in chunks; `line` is where the window stands."""

    def __init__(self, chunks: Iterator[str], line: int) -> None:
        self._chunks = chunks
        self._buffer = ""
        self._at = 0
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
            except json.JSONDecodeError:
                if not self._read_more():
                    raise
            else:
                _check(value, self._buffer.count("[", self._at, end) + self._buffer.count("{", self._at, end))
                self._advance(end)
                return value

    def _advance(self, to: int) -> None:
        self.line += self._buffer.count("\n", self._at, to)
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
