"""`onboard diagnose`: what does this failure mean, and what is to be done?

Takes an error message, an ARM body, an instance view or what az printed: as an argument, as a file or from standard
input. Exit codes: 0 (also for failures that no rule knows, and where nothing failed), 2 bad input.
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

from onboarding.application.image_check import DEFAULT_EXTENSION
from onboarding.cli.failures.diagnose_input import read_evidence
from onboarding.cli.io import BadInput, Commands, as_json, nobody_pipes, read_text
from onboarding.cli.policy.policy_input import policy_folder
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import as_written
from onboarding.domain.failures.classification import Cause, ErrorTable, Failure, FailureClass, classify, parse_errors
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.handler_report import read_report
from onboarding.domain.masking import cut, mask
from onboarding.loading.package_data import handler_names, shared_errors
from onboarding.loading.policy_folder import known_extension, load_catalogue_of

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
_NOTHING = "nothing failed: what was given tells of no failure"
_WORDS = 300
_LONGEST_PATH = 1024
# `/var/log/x`, `./x.json`, `~/x`, `C:\\x`, `a/b.status`: no message looks like this.
_PATH = re.compile(
    r"(?:~|\.{1,2})?/[^\s:'\"{}<>]+|[A-Za-z]:\\[^\s'\"{}<>]+|[\w./-]+\.(?:json|jsonl|txt|log|status|ya?ml|xml|html?)"
)


def add(commands: Commands) -> None:
    parser = commands.add_parser("diagnose", help="say what a failure means and what to do")
    parser.add_argument(
        "text",
        nargs="?",
        default="-",
        metavar="TEXT|FILE",
        help="the message or body, or a file that has it; - is standard input",
    )
    parser.add_argument("--extension", help="catalogue entry (default: the one whose handler the text names)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: one object a line")
    parser.set_defaults(run=run)


class Answer(Struct, frozen=True):
    """A failure, the handler that its text names (or nothing), and the catalogue entry whose table was asked ('' where
    none is that handler's)."""

    failure: Failure
    handler: str
    table: str


def run(args: argparse.Namespace) -> int:
    tables = _Tables(args.extension)
    now = datetime.now(UTC)
    answers = (tables.explain(evidence, now) for evidence in _given(args.text))
    if args.format == "text":
        _print_for_people(answers)
        return 0
    nothing = True
    for answer in answers:
        nothing = False
        print(as_json(as_fields(answer)))
    if nothing:
        print(_NOTHING, file=sys.stderr)
    return 0


def as_fields(answer: Answer) -> Mapping[str, Any]:
    """The failure under the names that programs read."""
    failure = answer.failure
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
        "handler": answer.handler or None,
        "table": answer.table or None,
    }


class _Tables:
    """The error table for each failure: of the extension asked for, or of the one whose handler the failure names.

    A failure that names no handler is read as the default entry's; one of an unknown handler by the shared rules, and
    by Microsoft's conventions where it is Microsoft's."""

    def __init__(self, name: str | None) -> None:
        catalogue = load_catalogue_of(Path(policy_folder(os.environ)))
        asked = known_extension(name, "--extension", catalogue.entries, catalogue.unusable) if name else None
        self._asked = asked.name if asked else ""
        self._errors = {entry_name: entry.errors for entry_name, entry in catalogue.entries.items()}
        self._by_handler = {handler_of(entry): entry_name for entry_name, entry in catalogue.entries.items()}
        self._default = DEFAULT_EXTENSION if DEFAULT_EXTENSION in catalogue.entries else ""

    def explain(self, evidence: Evidence, now: datetime) -> Answer:
        handler = read_report(evidence, handler_names()).handler
        table = self._asked or (self._by_handler.get(handler.lower(), "") if handler else self._default)
        failure = classify(evidence, self._errors[table] if table else _shared_for(handler), now)
        if failure.cause is Cause.UNKNOWN and (words := _own_words(evidence)):
            failure = replace(failure, meaning=f"{failure.meaning} In its own words: {words}")
        return Answer(failure, handler, table)


def _shared_for(handler: str) -> ErrorTable:
    return parse_errors({}, shared_errors(), conventions=handler.lower().startswith("microsoft."))


def _own_words(evidence: Evidence) -> str:
    """What a failure says of itself, in one line without its secrets; nothing where the meaning cannot add to it."""
    return cut(mask(" ".join(evidence.message.split())), _WORDS)


def handler_of(entry: CatalogueEntry) -> str:
    return f"{entry.publisher}.{entry.type}".lower()


_GIVE = "give a file that is there, the message itself, or - for standard input"


def _given(text: str) -> Iterable[Evidence]:
    if text == "-":
        if nobody_pipes():
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


def _print_for_people(answers: Iterable[Answer]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    from onboarding.cli.console import printable

    console = Console(highlight=False)
    nothing = True
    for answer in answers:
        nothing, failure = False, answer.failure
        told = [failure.code, "" if failure.exit_code is None else f"exit code {failure.exit_code}"]
        title = printable(failure.cause, style=f"bold {_COLOURS[failure.kind]}")
        title.append(printable("".join(f" · {part}" for part in told if part), "not bold dim"))
        grid = Table.grid(padding=(0, 2))
        for name, text in _lines(answer):
            grid.add_row(printable(name, "dim"), printable(text))
        console.print(title, Padding(grid, (0, 0, 1, 2)))
    if nothing:
        console.print(_NOTHING)


def _lines(answer: Answer) -> Iterable[tuple[str, str]]:
    failure = answer.failure
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
    if answer.handler and not answer.table:
        yield "of", f"{answer.handler}, which is not in the catalogue: its exit codes are not known here"
    elif not answer.handler and answer.table and failure.exit_code is not None:
        yield "read", f"as {answer.table}'s, since no handler is named (--extension NAME for another)"
