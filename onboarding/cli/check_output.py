"""Writes the answers of `onboard check`: a table for people, JSON Lines or CSV for programs. One line at a time."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any, Protocol

from onboarding.check import Answer
from onboarding.core.foreign import printable
from onboarding.core.support import SupportTable, Verdict

_COLOURS = {Verdict.SUPPORTED: "32", Verdict.UNSUPPORTED: "31", Verdict.UNKNOWN: "33"}
_PUBLISHERS_SHOWN = 12
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # also in full width, as East Asian spreadsheets take them
_FORMULA_STARTS = ("\t", "\r", "\n")


class Writer(Protocol):
    """Takes the answers in the input's order."""

    def write(self, item: Any, answer: Answer) -> None: ...

    def end(self) -> None: ...


class JsonWriter:
    """JSON Lines: the item's own keys, and the answer's, which win. An image whose `version` key the OS version
    replaces keeps it in `urn`."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def write(self, item: Any, answer: Answer) -> None:
        own = item if isinstance(item, Mapping) else {"urn": item}
        if "version" in own and "urn" not in own and ":" in answer.subject:
            own = {**own, "urn": answer.subject}
        self._out.write(json.dumps({**own, **answer.fields()}) + "\n")

    def end(self) -> None:
        return


class CsvWriter:
    """One row an answer: what was asked, and the answer's fields."""

    def __init__(self, out: IO[str]) -> None:
        self._rows = csv.writer(out, lineterminator="\n")
        self._header_due = True

    def write(self, item: Any, answer: Answer) -> None:
        fields = answer.fields()
        if self._header_due:
            self._rows.writerow(["image", *fields])
            self._header_due = False
        self._rows.writerow([cell(answer.subject), *map(cell, fields.values())])

    def end(self) -> None:
        return


def cell(value: Any) -> Any:
    """A cell that a spreadsheet takes for text: one that begins like a formula gets an apostrophe before it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) or value[:1] in _FORMULA_STARTS else text


class TableWriter:
    """For people: a line an answer, its reason below it where asked for, and a summary."""

    def __init__(self, out: IO[str], table: SupportTable, *, reasons: bool, colours: bool) -> None:
        self._out = out
        self._table = table
        self._reasons = reasons
        self._colours = colours
        self._verdicts: Counter[Verdict] = Counter()
        self._unknown: Counter[str] = Counter()

    def write(self, item: Any, answer: Answer) -> None:
        verdict = answer.judgement.verdict
        self._verdicts[verdict] += 1
        if verdict is Verdict.UNKNOWN:
            self._unknown[answer.publisher.lower() or "(no marketplace image)"] += 1
        shown = self._painted(f"{verdict:<11}", verdict)
        line = f"{shown}  {printable(answer.release.title):<36}  {answer.release.witness:<17}  "
        self._out.write(f"{line}{printable(answer.subject)}\n")
        if self._reasons:
            self._out.write(f"             {printable(answer.judgement.reason)}\n")

    def end(self) -> None:
        total = sum(self._verdicts.values())
        counts = ", ".join(self._painted(f"{self._verdicts[verdict]} {verdict}", verdict) for verdict in Verdict)
        self._out.write(f"\n{total} checked against {self._table}: {counts}\n")
        if self._unknown:
            most = self._unknown.most_common(_PUBLISHERS_SHOWN)
            rest = len(self._unknown) - len(most)
            listed = ", ".join(f"{printable(name)} {count}" for name, count in most)
            self._out.write(f"unknown by publisher: {listed}{f', and {rest} more publishers' if rest else ''}\n")

    def _painted(self, text: str, verdict: Verdict) -> str:
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if self._colours else text
