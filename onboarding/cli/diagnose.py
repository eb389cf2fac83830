"""`onboard diagnose`: what does this failure mean, and what is to be done?

Takes an error message, an ARM body or what az printed, as an argument or from standard input. Exit codes: 0 (also
for failures that no rule knows), 2 bad input.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onboarding.check import DEFAULT_EXTENSION
from onboarding.cli.diagnose_input import read_evidence
from onboarding.cli.io import BadInput, Commands, as_json, nobody_pipes, read_text
from onboarding.cli.policy_input import policy_folder
from onboarding.core.catalog import CatalogueEntry
from onboarding.core.errors import ConfigurationError
from onboarding.core.evidence import Evidence
from onboarding.core.failures import ErrorTable, Failure, FailureClass, classify, parse_errors
from onboarding.core.handler_report import read_report
from onboarding.files import known_extension, load_catalogue_of

_COLOURS = {
    FailureClass.TRANSIENT: "yellow",
    FailureClass.WAITING: "cyan",
    FailureClass.PERMANENT: "red",
    FailureClass.ALREADY_DONE: "green",
}
_SENTENCES = {
    FailureClass.TRANSIENT: "transient: it is tried again",
    FailureClass.WAITING: "waiting: it goes on by itself when that ends",
    FailureClass.PERMANENT: "permanent: trying again does not help",
    FailureClass.ALREADY_DONE: "already done",
}


def add(commands: Commands) -> None:
    parser = commands.add_parser("diagnose", help="say what a failure means and what to do")
    parser.add_argument("text", nargs="?", default="-", metavar="TEXT", help="the message or body; - is standard input")
    parser.add_argument("--extension", help="catalogue entry (default: the one whose handler the text names)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: one object a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    tables = _Tables(args.extension)
    now = datetime.now(UTC)
    failures = (classify(evidence, tables.choose(evidence), now) for evidence in _given(args.text))
    if args.format == "json":
        for failure in failures:
            print(as_json(as_fields(failure)))
    else:
        _print_for_people(failures)
    return 0


def as_fields(failure: Failure) -> Mapping[str, Any]:
    """The failure under the names that programs read."""
    return {
        "class": failure.kind,
        "cause": failure.cause,
        "exit_code": failure.exit_code,
        "meaning": failure.meaning,
        "advice": failure.advice,
        "code": failure.code,
        "retry_after": failure.retry_after,
        "scope_wide": failure.scope_wide,
        "max_attempts": failure.max_attempts,
    }


class _Tables:
    """The error table for each failure: of the extension asked for, or of the one whose handler the failure names.

    A failure that names no handler is read as the default entry's, one of an unknown handler by the shared rules."""

    def __init__(self, name: str | None) -> None:
        try:
            catalogue = load_catalogue_of(Path(policy_folder(os.environ)))
            asked = known_extension(name, "--extension", catalogue.entries, catalogue.unusable) if name else None
        except ConfigurationError as error:
            raise BadInput(str(error)) from error
        self._asked = asked.errors if asked else None
        self._by_handler = {handler_of(entry): entry.errors for entry in catalogue.entries.values()}
        self._shared = parse_errors({})
        default = catalogue.entries.get(DEFAULT_EXTENSION)
        self._default = default.errors if default else self._shared

    def choose(self, evidence: Evidence) -> ErrorTable:
        if self._asked:
            return self._asked
        handler = read_report(evidence).handler.lower()
        if not handler:
            return self._default
        return self._by_handler.get(handler, self._shared)


def handler_of(entry: CatalogueEntry) -> str:
    return f"{entry.publisher}.{entry.type}".lower()


def _given(text: str) -> Iterable[Evidence]:
    if text != "-":
        return read_evidence(text, "TEXT")
    if nobody_pipes():
        raise BadInput("nothing to diagnose; give the message as an argument, or pipe it in")
    return read_evidence(read_text("-", errors="replace"), "standard input")


def _print_for_people(failures: Iterable[Failure]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    from onboarding.cli.console import printable

    console = Console(highlight=False)
    for failure in failures:
        told = [failure.code, "" if failure.exit_code is None else f"exit code {failure.exit_code}"]
        title = printable(failure.cause, style=f"bold {_COLOURS[failure.kind]}")
        title.append(printable("".join(f" · {part}" for part in told if part), "not bold dim"))
        grid = Table.grid(padding=(0, 2))
        for name, text in _lines(failure):
            grid.add_row(printable(name, "dim"), printable(text))
        console.print(title, Padding(grid, (0, 0, 1, 2)))


def _lines(failure: Failure) -> Iterable[tuple[str, str]]:
    yield "means", failure.meaning
    yield "do", failure.advice
    kind = _SENTENCES[failure.kind]
    if failure.max_attempts:
        kind += f", {failure.max_attempts} times at most"
    if failure.retry_after is not None:
        kind += f", not before {failure.retry_after:,.0f} s have passed"
    yield "is", kind
    if failure.scope_wide:
        yield "reach", "every VM of the scope, not just this one"
