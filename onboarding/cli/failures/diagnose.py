"""`onboard diagnose`: explain a failure: what it means and what to do.

The input is an error message, an ARM body, an instance view or the output of az: as an argument, in a file or on
standard input. Exit codes: 0 (also for a failure that no rule knows, and where nothing failed), 2 bad input.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping
from copy import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from onboarding.application.image_check import used_extensions
from onboarding.cli.command_list import add_command
from onboarding.cli.failures.diagnose_input import read_evidence
from onboarding.cli.io import BadInput, Commands, is_interactive, read_text
from onboarding.cli.output import FORMERLY_LINES, Form, add_output, write_records
from onboarding.cli.policy.policy_input import load_rules, policy_folder
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import as_written
from onboarding.domain.failures.classification import Cause, ErrorTable, Failure, FailureClass, classify, parse_errors
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.handler_report import read_report
from onboarding.domain.masking import cut, mask
from onboarding.loading.package_data import handler_names, shared_errors
from onboarding.loading.policy_extensions import known_extension
from onboarding.loading.policy_folder import load_catalogue_of

_COLOURS = {
    FailureClass.TRANSIENT: "yellow",
    FailureClass.WAITING: "cyan",
    FailureClass.PERMANENT: "red",
    FailureClass.ALREADY_DONE: "green",
}
_SENTENCES = {
    FailureClass.TRANSIENT: "automatic (transient)",
    FailureClass.WAITING: "automatic, when the reason is gone (waiting)",
    FailureClass.PERMANENT: "not automatic (permanent)",
    FailureClass.ALREADY_DONE: "not needed (already done)",
}
_NO_FAILURE = "nothing failed: the input reports no failure"
_MAX_QUOTED = 300
_LONGEST_PATH = 1024
# `/var/log/x`, `./x.json`, `~/x`, `C:\\x`, `a/b.status`: these are paths, and no message looks like them.
_PATH = re.compile(
    r"(?:~|\.{1,2})?/[^\s:'\"{}<>]+|[A-Za-z]:\\[^\s'\"{}<>]+|[\w./-]+\.(?:json|jsonl|txt|log|status|ya?ml|xml|html?)"
)


def add(commands: Commands) -> None:
    parser = add_command(commands, "diagnose")
    parser.add_argument(
        "text",
        nargs="?",
        default="-",
        metavar="TEXT|FILE",
        help="an error message, or a file with one; - is standard input (default)",
    )
    parser.add_argument("--extension", help="catalogue entry whose error table to use (default: from the text)")
    add_output(parser, formerly=FORMERLY_LINES)
    parser.set_defaults(run=run)


class DiagnosedFailure(Struct, frozen=True):
    """A failure, and by which error table it was classified."""

    failure: Failure

    handler: str
    """The extension handler that the text names; '' where it names none."""

    table: str
    """The catalogue entry whose error table was used; '' where the handler is not in the catalogue."""


def run(args: argparse.Namespace) -> int:
    tables = _ErrorTables(args.extension)
    now = datetime.now(UTC)
    failures = (tables.diagnose(evidence, now) for evidence in _read_argument(args.text))
    if args.output is Form.TABLE:
        _print_for_people(failures)
    elif not write_records(args.output, _COLUMNS, map(as_fields, failures)):
        print(_NO_FAILURE, file=sys.stderr)
    return 0


_COLUMNS = (
    *("class", "cause", "exit_code", "meaning", "advice", "code"),
    *("retry_after", "scope_wide", "max_attempts", "handler", "table"),
)


def as_fields(diagnosed: DiagnosedFailure) -> Mapping[str, Any]:
    """The JSON object of a failure."""
    failure = diagnosed.failure
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
        "handler": diagnosed.handler or None,
        "table": diagnosed.table or None,
    }


class _ErrorTables:
    """Chooses the error table for each failure: that of --extension, or that of the handler that the failure names.

    A failure that names no handler uses the tables of the extensions that the policies use; of several, the first that
    knows its cause. One of a handler that is not in the catalogue uses the shared rules, and Microsoft's exit codes if
    the handler is Microsoft's."""

    def __init__(self, name: str | None) -> None:
        folder = policy_folder(os.environ)
        catalogue = load_catalogue_of(Path(folder))
        chosen = known_extension(name, "--extension", catalogue.entries, catalogue.unusable) if name else None
        self._chosen = chosen.name if chosen else ""
        self._errors = {entry_name: entry.errors for entry_name, entry in catalogue.entries.items()}
        self._by_handler = {handler_of(entry): entry_name for entry_name, entry in catalogue.entries.items()}
        used = used_extensions(load_rules(folder, os.environ)[0].policies, catalogue.entries) if not chosen else ()
        self._used = tuple(dict.fromkeys(each.entry.name for each in used))

    def diagnose(self, evidence: Evidence, now: datetime) -> DiagnosedFailure:
        handler = read_report(evidence, handler_names()).handler
        named = self._chosen or self._by_handler.get(handler.lower(), "")
        tables = (named,) if named or handler else self._used or ("",)
        failures = {table: classify(evidence, self._table(table, handler), now) for table in tables}
        known = (table for table, failure in failures.items() if failure.cause is not Cause.UNKNOWN)
        table = next(known, tables[0])
        failure = failures[table]
        if failure.cause is Cause.UNKNOWN and (words := _own_words(evidence)):
            failure = replace(failure, meaning=f"{failure.meaning} Its message: {words}")
        return DiagnosedFailure(failure, handler, table)

    def _table(self, name: str, handler: str) -> ErrorTable:
        return self._errors[name] if name else _shared_for(handler)


def _shared_for(handler: str) -> ErrorTable:
    return parse_errors({}, shared_errors(), conventions=handler.lower().startswith("microsoft."))


def _own_words(evidence: Evidence) -> str:
    """The message of the failure itself, in one line, with secrets masked."""
    return cut(mask(" ".join(evidence.message.split())), _MAX_QUOTED)


def handler_of(entry: CatalogueEntry) -> str:
    return f"{entry.publisher}.{entry.type}".lower()


_GIVE = "give a file that is there, the message itself, or - for standard input"


def _read_argument(text: str) -> Iterable[Evidence]:
    if text == "-":
        if is_interactive():
            raise BadInput("", "nothing to diagnose", "give the message as an argument, or pipe it in")
        return read_evidence(read_text("-", errors="replace"), "standard input")
    if len(text) > _LONGEST_PATH:
        return read_evidence(text, "TEXT")
    if os.path.isfile(text):  # never raises, whatever the text
        return read_evidence(read_text(text, errors="replace"), text)
    if os.path.isdir(text):
        raise BadInput("", f"{as_written(text, 200)} is a folder", _GIVE)
    if _PATH.fullmatch(text):
        raise BadInput("", f"{as_written(text, 200)} is not there", _GIVE)
    return read_evidence(text, "TEXT")


def _print_for_people(failures: Iterable[DiagnosedFailure]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    from onboarding.cli.console import printable

    console = Console(highlight=False)
    nothing = True
    for diagnosed in failures:
        nothing, failure = False, diagnosed.failure
        parts = [failure.code, "" if failure.exit_code is None else f"exit code {failure.exit_code}"]
        title = printable(failure.cause, style=f"bold {_COLOURS[failure.kind]}")
        title.append(printable("".join(f" · {part}" for part in parts if part), "not bold dim"))
        grid = Table.grid(padding=(0, 2))
        for name, text in _labelled_lines(diagnosed):
            grid.add_row(printable(name, "dim"), printable(text))
        console.print(title, Padding(grid, (0, 0, 1, 2)))
    if nothing:
        console.print(_NO_FAILURE)


def _labelled_lines(diagnosed: DiagnosedFailure) -> Iterable[tuple[str, str]]:
    failure = diagnosed.failure
    yield "means", failure.meaning
    yield "do", failure.advice
    kind = _SENTENCES[failure.kind]
    if failure.max_attempts:
        kind += f", {failure.max_attempts} times at most"
    if failure.retry_after is not None:
        kind += f", not before {failure.retry_after:,.0f} s have passed"
    yield "retry", kind
    if failure.scope_wide:
        yield "scope", "every VM of the scope has this failure, not only this one"
    if diagnosed.handler and not diagnosed.table:
        yield "handler", f"{diagnosed.handler}, which is not in the catalogue, so its exit codes are unknown"
    elif not diagnosed.handler and diagnosed.table and failure.exit_code is not None:
        yield (
            "table",
            f"read as a failure of {diagnosed.table}, as the text names no handler (--extension NAME for another)",
        )
