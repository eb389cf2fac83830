"""`onboard errors`: the code table of an extension as its document has it, and what later editions made of it.

Exit codes: 0, 2 for a code that no edition knows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onboarding.application.image_check import DEFAULT_EXTENSION
from onboarding.cli.images.check import load_entry
from onboarding.cli.io import BadInput, Commands
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import known_names
from onboarding.domain.failures.failure_rules import Diagnosis, Edition, Rule


class Reading(Struct, frozen=True):
    """What one edition says of one code. `action` is the edition's own; `advice` is what we say where it has none."""

    edition: Edition
    rule: Rule
    action: str

    @property
    def diagnosis(self) -> Diagnosis:
        return self.rule.diagnosis

    @property
    def scope(self) -> str:
        """When the edition counts: its date, the handler's first version that speaks so, the operation."""
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


def add(commands: Commands) -> None:
    parser = commands.add_parser("errors", help="what the exit codes of an extension mean, edition by edition")
    parser.add_argument("code", nargs="?", type=int, metavar="CODE", help="one exit code, with all that is known of it")
    parser.add_argument("--extension", default=DEFAULT_EXTENSION, help="catalogue entry (default: %(default)s)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="json: one object a code")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    entry = load_entry(args.extension)
    codes = read_codes(entry)
    if args.code is not None:
        if args.code not in codes:
            problem = f"no edition of {entry.name}'s code table has {args.code}"
            raise BadInput("CODE", problem, known_names("codes", map(str, codes)))
        codes = {args.code: codes[args.code]}
    if args.format == "json":
        for code, readings in codes.items():
            print(json.dumps({"code": code, "editions": [r.fields() for r in readings]}, ensure_ascii=False))
    elif args.code is not None:
        _print_one(codes[args.code])
    else:
        _print_all(entry, codes)
    return 0


def read_codes(entry: CatalogueEntry) -> Mapping[int, tuple[Reading, ...]]:
    """Every code in its order, with what each edition says of it, the oldest first."""
    codes: dict[int, tuple[Reading, ...]] = {}
    for edition in entry.errors.editions:
        for rule in edition.rules:
            usual = entry.errors.causes[rule.diagnosis.cause].advice
            action = "" if rule.diagnosis.advice == usual else rule.diagnosis.advice
            for code in rule.exit_codes:
                codes[code] = (*codes.get(code, ()), Reading(edition, rule, action))
    return dict(sorted(codes.items()))


def _print_all(entry: CatalogueEntry, codes: Mapping[int, tuple[Reading, ...]]) -> None:
    from onboarding.cli.console import open_console, plain_table, printable

    console = open_console()
    if not codes:
        console.print(f"{entry.name} has no code table of its own: `onboard diagnose` reads its messages")
        return
    first = entry.errors.editions[0]
    table = plain_table("Code", f"{first.date}: meaning → possible action", "Later editions")
    table.columns[0].justify = "right"
    table.columns[1].ratio = table.columns[2].ratio = 1
    for code, readings in codes.items():
        own = [_told(reading) for reading in readings if reading.edition is first]
        later = [f"{r.scope}: {_told(r)}" for r in readings if r.edition is not first]
        table.add_row(str(code), printable("\n".join(own)), printable("\n".join(later), "dim"))
    console.print(table)
    console.print()
    for edition in entry.errors.editions:
        console.print(printable(f"{edition.date}  {edition.source}", "dim"), soft_wrap=True)


def _told(reading: Reading) -> str:
    return f"{reading.diagnosis.meaning} → {reading.action}" if reading.action else reading.diagnosis.meaning


def _print_one(readings: tuple[Reading, ...]) -> None:
    from rich.padding import Padding
    from rich.table import Table

    from onboarding.cli.console import open_console, printable

    console = open_console()
    for reading in readings:
        grid = Table.grid(padding=(0, 2))
        told = reading.diagnosis
        lines = {"means": told.meaning, "do": reading.action or told.advice, "cause": f"{told.cause} ({told.kind})"}
        for name, text in {**lines, "source": reading.edition.source}.items():
            grid.add_row(printable(name, "dim"), printable(text))
        console.print(printable(reading.scope, "bold"), Padding(grid, (0, 0, 1, 2)))
