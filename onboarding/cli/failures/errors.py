"""`onboard errors`: list the exit codes of an extension, as each edition of its documentation has them.

Exit codes: 0, 2 for a code that no edition has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from onboarding.cli.command_list import add_command
from onboarding.cli.extension_choice import add_extension, chosen_entries
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.output import Form, add_output, write_records
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import known_names
from onboarding.domain.failures.failure_rules import Diagnosis, Edition, Rule


class CodeMeaning(Struct, frozen=True):
    """The meaning of one exit code in one edition of the documentation."""

    edition: Edition

    rule: Rule

    action: str
    """The action that the edition recommends; '' where it has none, and the advice is that of the cause."""

    @property
    def diagnosis(self) -> Diagnosis:
        return self.rule.diagnosis

    @property
    def scope(self) -> str:
        """Where the edition applies: its date, the first handler version, the operations."""
        version = f"from {self.edition.handler_version}" if self.edition.handler_version else ""
        return ", ".join(filter(None, (self.edition.date, version, *sorted(self.rule.operations))))

    def fields(self) -> dict[str, Any]:
        return {
            "date": self.edition.date,
            "source": self.edition.source,
            "handlerVersion": self.edition.handler_version or None,
            "operation": sorted(self.rule.operations),
            "meaning": self.diagnosis.meaning,
            "action": self.action or None,
            "advice": self.diagnosis.advice,
            "cause": self.diagnosis.cause,
            "class": self.diagnosis.kind,
        }


_COLUMNS = (
    *("extension", "code", "date", "source", "handlerVersion", "operation"),
    *("meaning", "action", "advice", "cause", "class"),
)


def add(commands: Commands) -> None:
    parser = add_command(commands, "errors")
    parser.add_argument("code", nargs="?", type=int, metavar="CODE", help="show one exit code in full")
    add_extension(parser)
    add_output(parser, formerly={"table": Form.TABLE, "json": Form.JSONL})
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    entries = chosen_entries(args.extension)
    tables = {entry.name: read_codes(entry) for entry in entries}
    if args.code is not None:
        known = {code for codes in tables.values() for code in codes}
        if args.code not in known:
            problem = f"no edition of the code table of {', '.join(tables)} has {args.code}"
            raise BadInput("CODE", problem, known_names("codes", map(str, sorted(known))))
        tables = {name: {args.code: codes[args.code]} for name, codes in tables.items() if args.code in codes}
    if args.output is Form.TABLE:
        shown = [(entry, tables[entry.name]) for entry in entries if entry.name in tables]
        _print_tables(shown, whole=args.code is None)
    elif args.output is Form.CSV:
        flat = (
            {"extension": name, "code": code, **each.fields()}
            for name, codes in tables.items()
            for code, meanings in codes.items()
            for each in meanings
        )
        write_records(args.output, _COLUMNS, flat)
    else:
        listed = (
            {"extension": name, "code": code, "editions": [each.fields() for each in meanings]}
            for name, codes in tables.items()
            for code, meanings in codes.items()
        )
        write_records(args.output, (), listed, encode=lambda record: json.dumps(record, ensure_ascii=False))
    return 0


def _print_tables(
    tables: Sequence[tuple[CatalogueEntry, Mapping[int, tuple[CodeMeaning, ...]]]], *, whole: bool
) -> None:
    from onboarding.cli.console import open_console, printable

    for entry, codes in tables:
        if len(tables) > 1:
            open_console().print(printable(entry.name, "bold"))
        if whole:
            _print_all(entry, codes)
        else:
            for meanings in codes.values():
                _print_one(meanings)


def read_codes(entry: CatalogueEntry) -> Mapping[int, tuple[CodeMeaning, ...]]:
    """Every code in ascending order, with its meaning in each edition, the oldest first."""
    codes: dict[int, tuple[CodeMeaning, ...]] = {}
    for edition in entry.errors.editions:
        for rule in edition.rules:
            usual = entry.errors.causes[rule.diagnosis.cause].advice
            action = "" if rule.diagnosis.advice == usual else rule.diagnosis.advice
            for code in rule.exit_codes:
                codes[code] = (*codes.get(code, ()), CodeMeaning(edition, rule, action))
    return dict(sorted(codes.items()))


def _print_all(entry: CatalogueEntry, codes: Mapping[int, tuple[CodeMeaning, ...]]) -> None:
    from onboarding.cli.console import open_console, plain_table, printable

    console = open_console()
    if not codes:
        console.print(f"{entry.name} has no table of exit codes; `onboard diagnose` explains its messages")
        return
    first = entry.errors.editions[0]
    table = plain_table("Code", f"{first.date}: meaning → possible action", "Later editions")
    table.columns[0].justify = "right"
    table.columns[1].ratio = table.columns[2].ratio = 1
    for code, meanings in codes.items():
        own = [_meaning_and_action(meaning) for meaning in meanings if meaning.edition is first]
        later = [f"{r.scope}: {_meaning_and_action(r)}" for r in meanings if r.edition is not first]
        table.add_row(str(code), printable("\n".join(own)), printable("\n".join(later), "dim"))
    console.print(table)
    console.print()
    for edition in entry.errors.editions:
        console.print(printable(f"{edition.date}  {edition.source}", "dim"), soft_wrap=True)


def _meaning_and_action(meaning: CodeMeaning) -> str:
    return f"{meaning.diagnosis.meaning} → {meaning.action}" if meaning.action else meaning.diagnosis.meaning


def _print_one(meanings: tuple[CodeMeaning, ...]) -> None:
    from rich.padding import Padding
    from rich.table import Table

    from onboarding.cli.console import open_console, printable

    console = open_console()
    for meaning in meanings:
        grid = Table.grid(padding=(0, 2))
        diagnosis = meaning.diagnosis
        lines = {
            "means": diagnosis.meaning,
            "do": meaning.action or diagnosis.advice,
            "cause": f"{diagnosis.cause} ({diagnosis.kind})",
        }
        for name, text in {**lines, "source": meaning.edition.source}.items():
            grid.add_row(printable(name, "dim"), printable(text))
        console.print(printable(meaning.scope, "bold"), Padding(grid, (0, 0, 1, 2)))
