"""The forms of output, one definition for all commands: `-o/--output table|json|jsonl|csv`.

`table` is for people, in the words of each command. `json` is one document, `jsonl` one object on each line, `csv` one
row for each record below a line of names. A command names the forms that it has.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from onboarding.cli.io import as_json
from onboarding.domain.json_access import printable

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # also in full width, which East Asian spreadsheets accept
_FORMULA_STARTS = ("\t", "\r", "\n")


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    YAML = "yaml"


ALL_FORMS = (Form.TABLE, Form.JSON, Form.JSONL, Form.CSV)  # YAML is for commands that print files
# What `--format` of a command meant whose JSON was one object on each line.
FORMERLY_LINES = {"text": Form.TABLE, "json": Form.JSONL}
# What it meant where the JSON was one document.
FORMERLY_DOCUMENT = {"text": Form.TABLE, "json": Form.JSON}


def add_output(
    parser: argparse.ArgumentParser,
    forms: Sequence[Form] = ALL_FORMS,
    *,
    formerly: Mapping[str, Form] | None = None,
    note: str = "",
) -> None:
    """Add `-o/--output` with these forms, the first is the default. `formerly` has the words of the older `--format`,
    which keeps its meaning and is not shown in the help."""
    known = ",".join(forms)
    parser.add_argument(
        "-o",
        "--output",
        action=_OutputAction,
        forms=tuple(forms),
        metavar=f"{{{known}}}",
        default=forms[0],
        help=f"form of the output (default: {forms[0]}){f'; {note}' if note else ''}",
    )
    if formerly:
        parser.add_argument(
            "--format",
            action=_FormatAction,
            meanings=formerly,
            dest="output",
            choices=tuple(formerly),
            default=forms[0],
            help=argparse.SUPPRESS,
        )


class _OutputAction(argparse.Action):
    def __init__(self, *, forms: tuple[Form, ...], **usual: Any) -> None:
        super().__init__(**usual)
        self.forms = forms

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if values not in self.forms:
            why = f"is not available for {parser.prog}" if values in tuple(Form) else "is not a form of output"
            parser.error(f"--output {printable(values)} {why}; use {_alternatives(self.forms)}")
        setattr(namespace, self.dest, Form(values))


class _FormatAction(argparse.Action):
    def __init__(self, *, meanings: Mapping[str, Form], **usual: Any) -> None:
        super().__init__(**usual)
        self._meanings = meanings

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, self._meanings[values])


def _alternatives(forms: Sequence[Form]) -> str:
    *others, last = forms
    return f"{', '.join(others)} or {last}" if others else last


class Records(Protocol):
    """Takes the records of a command one by one, so that their number does not matter."""

    def write(self, record: Mapping[str, Any]) -> None: ...

    def end(self) -> None: ...


def open_records(
    form: Form, columns: Sequence[str], *, encode: Callable[[Any], str] = as_json, flush: bool = False
) -> Records:
    """A writer to standard output, for every form but the table. `columns` are those of CSV."""
    if form is Form.CSV:
        return _CsvRecords(columns)
    return _LineRecords(encode, flush=flush) if form is Form.JSONL else _DocumentRecords(encode)


def write_records(
    form: Form, columns: Sequence[str], records: Iterable[Mapping[str, Any]], *, encode: Callable[[Any], str] = as_json
) -> int:
    """Write all records and return their number."""
    writer = open_records(form, columns, encode=encode)
    number = 0
    for record in records:
        writer.write(record)
        number += 1
    writer.end()
    return number


class _LineRecords:
    def __init__(self, encode: Callable[[Any], str], *, flush: bool) -> None:
        self._encode = encode
        self._flush = flush

    def write(self, record: Mapping[str, Any]) -> None:
        print(self._encode(record), flush=self._flush)

    def end(self) -> None:
        return


class _DocumentRecords:
    """An array, each record on a line of its own."""

    def __init__(self, encode: Callable[[Any], str]) -> None:
        self._encode = encode
        self._before = "[\n"

    def write(self, record: Mapping[str, Any]) -> None:
        print(f"{self._before}{self._encode(record)}", end="")
        self._before = ",\n"

    def end(self) -> None:
        print("[]" if self._before == "[\n" else "\n]")


class _CsvRecords:
    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._rows = csv.writer(sys.stdout, lineterminator="\n")
        self._rows.writerow(columns)

    def write(self, record: Mapping[str, Any]) -> None:
        self._rows.writerow([cell(_plain(record.get(name))) for name in self._columns])

    def end(self) -> None:
        return


def cell(value: Any) -> Any:
    """A cell that a spreadsheet reads as text: an apostrophe is put before a text that begins like a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) or value[:1] in _FORMULA_STARTS else text


def _plain(value: Any) -> Any:
    """What a cell holds of a value: a list of texts is joined, other values of several parts are JSON."""
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
        case list() | tuple() if all(isinstance(each, str) for each in value):
            return "; ".join(value)
        case list() | tuple() | Mapping():
            return as_json(value)
    return value
