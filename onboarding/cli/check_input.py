"""Reads the items that `onboard check` is asked about, one at a time, whatever form the file has.

A JSON array (also one spread over lines, as `az … -o json` prints it), JSON Lines, CSV with a header, or plain URNs.
Nothing holds the whole file in memory; what cannot be read is named by its line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any

from onboarding.cli.io import BadInput

_COLUMNS = {"publisher", "offer", "sku", "version", "urn", "osname", "osversion"}
_CANONICAL = {"osname": "osName", "osversion": "osVersion"}
_DECODER = json.JSONDecoder()
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to check, and where it stood."""

    value: Any
    line: int


def read_items(source: IO[str], name: str) -> Iterator[Item]:
    """Every item of a text, in its order."""
    head, first = _first_line(source, name)
    text = first.strip()
    if text.startswith("["):
        yield from _json_values(chain([first], _chunks(source)), name, head)
    elif text.startswith("{"):
        if _is_json(text):
            yield from _json_lines(chain([first], source), name, head)
        else:
            yield from _json_values(chain([first], _chunks(source)), name, head)
    elif _is_header(text):
        yield from _csv_rows(text, source, head)
    else:
        yield from _plain_lines(chain([first], source), head)


def _first_line(source: IO[str], name: str) -> tuple[int, str]:
    for number, line in enumerate(source, 1):
        if line.strip():
            return number, line
    raise BadInput(f"{name}: is empty; give images as JSON, JSON Lines, CSV or one URN a line")


def _plain_lines(lines: Iterable[str], head: int) -> Iterator[Item]:
    for number, line in enumerate(lines, head):
        if text := line.strip():
            yield Item(text, number)


def _json_lines(lines: Iterable[str], name: str, head: int) -> Iterator[Item]:
    for number, line in enumerate(lines, head):
        if not line.strip():
            continue
        try:
            yield Item(json.loads(line), number)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadInput(f"{name}, line {number}: is no JSON ({error}); give one object a line") from None


def _csv_rows(header: str, source: IO[str], head: int) -> Iterator[Item]:
    columns = [_CANONICAL.get(column.strip().lower(), column.strip()) for column in next(csv.reader([header]))]
    columns = [column.lower() if column.lower() in _COLUMNS else column for column in columns]
    reader = csv.DictReader(source, fieldnames=columns)
    for row in reader:
        yield Item({key: value for key, value in row.items() if key is not None and value}, head + reader.line_num)


def _json_values(chunks: Iterable[str], name: str, head: int) -> Iterator[Item]:
    """The elements of the arrays, and the single values, that a text holds."""
    pending = iter(chunks)
    buffer, at, line = "", 0, head
    while True:
        start = _skip(buffer, at)
        line += buffer.count("\n", at, start)
        at = start
        if at < len(buffer):
            try:
                value, end = _DECODER.raw_decode(buffer, at)
            except (json.JSONDecodeError, RecursionError) as error:
                failure: Exception = error
            else:
                yield Item(value, line)
                line += buffer.count("\n", at, end)
                at = end
                continue
        more = "".join(text for _, text in zip(range(1 + (len(buffer) - at) // _CHUNK), pending, strict=False))
        if not more:
            break
        buffer, at = buffer[at:] + more, 0
    if at < len(buffer):
        raise BadInput(f"{name}, line {line}: is no JSON ({failure}); give an array, or one object a line")


def _skip(buffer: str, at: int) -> int:
    while at < len(buffer) and buffer[at] in " \t\r\n,[]\ufeff":
        at += 1
    return at


def _chunks(source: IO[str]) -> Iterator[str]:
    while text := source.read(_CHUNK):
        yield text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _is_header(text: str) -> bool:
    columns = {column.strip().strip('"').lower() for column in text.split(",")}
    return bool(columns & _COLUMNS) and ":" not in text
