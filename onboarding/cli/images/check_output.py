"""Writes the answers of `onboard check`, one at a time: a table for people, JSON or CSV for programs."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, Any, Protocol

from onboarding.application.image_check import Answer
from onboarding.cli.images.check_input import BadItem
from onboarding.cli.output import Form, cell, open_records
from onboarding.domain.catalog.support_table import SupportTable, Verdict
from onboarding.domain.image.os_release import TITLES, Distribution, OsSource
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_facts import OsType

_COLOURS = {Verdict.SUPPORTED: "32", Verdict.UNSUPPORTED: "31", Verdict.UNKNOWN: "33"}
_PUBLISHERS_SHOWN = 12
ERROR = "error"  # written instead of a verdict
_QUOTED = 80  # characters of a bad item


class CheckWriter(Protocol):
    """Takes the answers in the order of the input; `fail` takes an item without an answer, and the problem."""

    def write(self, item: Any, answer: Answer) -> None: ...

    def fail(self, item: Any, problem: str) -> None: ...

    def end(self) -> None: ...


class JsonCheckWriter:
    """JSON: the keys of the item, overridden by those of the answer. The answer's `version` is the OS version;
    the version of the image stays in `urn`. An item that could not be read also has `error`."""

    def __init__(self, form: Form) -> None:
        self._records = open_records(form, (), encode=json.dumps)

    def write(self, item: Any, answer: Answer) -> None:
        own = item if isinstance(item, Mapping) else {"urn": item}
        if "version" in own and "urn" not in own and ":" in answer.subject:
            own = {**own, "urn": answer.subject}
        self._records.write({**own, **_fields(answer)})

    def fail(self, item: Any, problem: str) -> None:
        own = item if isinstance(item, Mapping) else {"urn": text} if (text := _quoted(item)) else {}
        self._records.write({**own, **_no_answer(problem), "error": problem})

    def end(self) -> None:
        self._records.end()


class CsvCheckWriter:
    """One row for each answer: the image, and the fields of the answer."""

    def __init__(self, out: IO[str]) -> None:
        self._rows = csv.writer(out, lineterminator="\n")
        self._header_due = True

    def write(self, item: Any, answer: Answer) -> None:
        self._row(answer.subject, _fields(answer))

    def fail(self, item: Any, problem: str) -> None:
        self._row(_quoted(item), _no_answer(problem))

    def _row(self, subject: str, fields: Mapping[str, str | None]) -> None:
        if self._header_due:
            self._rows.writerow(["image", *fields])
            self._header_due = False
        self._rows.writerow([cell(subject), *map(cell, fields.values())])

    def end(self) -> None:
        return


def _no_answer(problem: str) -> dict[str, str | None]:
    """The fields of an answer, for an item that could not be read."""
    return {
        "distribution": Distribution.UNKNOWN,
        "version": None,
        "release": TITLES[Distribution.UNKNOWN],
        "architecture": None,
        "os_type": OsType.UNKNOWN,
        "verdict": ERROR,
        "witness": OsSource.NONE,
        "reason": problem,
        "extension": None,
        "supportTable": None,
    }


def _fields(answer: Answer) -> dict[str, str | None]:
    return {**answer.fields(), "extension": answer.extension, "supportTable": answer.judgement.table or None}


def _quoted(item: Any) -> str:
    """The beginning of an item that is not a mapping; empty for an item that could not be parsed."""
    if isinstance(item, (BadItem, Mapping)):
        return ""
    text = item if isinstance(item, str) else json.dumps(item, default=str)
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 3]}..."


class CheckTableWriter:
    """For people: one line for each answer, the reason below it if wanted, and a summary of each table. The tables have
    the names of their extensions, which are shown if there are several."""

    def __init__(
        self, out: IO[str], tables: Sequence[tuple[str, SupportTable]], *, reasons: bool, colours: bool
    ) -> None:
        self._out = out
        self._tables = tables
        self._reasons = reasons
        self._colours = colours
        self._verdicts: Counter[tuple[str, str, Verdict]] = Counter()
        self._unknown: Counter[str] = Counter()
        self._failed = 0

    def write(self, item: Any, answer: Answer) -> None:
        verdict = answer.judgement.verdict
        self._verdicts[answer.extension, answer.judgement.table, verdict] += 1
        if verdict is Verdict.UNKNOWN:
            self._unknown[answer.publisher.lower() or "(no marketplace image)"] += 1
        shown = self._painted(f"{verdict:<11}", verdict)
        line = f"{shown}  {printable(answer.release.title):<36}  {answer.release.source:<17}  "
        extension = f"  {answer.extension}" if len(self._tables) > 1 else ""
        self._out.write(f"{line}{printable(answer.subject)}{extension}\n")
        if self._reasons:
            self._out.write(f"             {printable(answer.judgement.reason)}\n")

    def fail(self, item: Any, problem: str) -> None:
        self._failed += 1
        self._out.write(f"{ERROR:<11}  {printable(problem)}\n")

    def end(self) -> None:
        self._out.write("\n")
        for extension, table in self._tables:
            numbers = {verdict: self._verdicts[extension, table.name, verdict] for verdict in Verdict}
            counts = ", ".join(self._painted(f"{number} {verdict}", verdict) for verdict, number in numbers.items())
            failed = f"; {self._failed} not read" if self._failed else ""
            owner = f" of {extension}" if len(self._tables) > 1 else ""
            self._out.write(f"{sum(numbers.values())} checked against {table}{owner}: {counts}{failed}\n")
        if self._unknown:
            most = self._unknown.most_common(_PUBLISHERS_SHOWN)
            rest = len(self._unknown) - len(most)
            listed = ", ".join(f"{printable(name)} {count}" for name, count in most)
            self._out.write(f"unknown by publisher: {listed}{f', and {rest} more publishers' if rest else ''}\n")

    def _painted(self, text: str, verdict: Verdict) -> str:
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if self._colours else text
