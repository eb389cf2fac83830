"""`onboard status`: show the rows of the VMs in the table, or the history of one VM.

Exit codes: 0 rows were found, 1 nothing matched, 2 bad settings or arguments, or the table cannot be reached. Where
nothing matched, a policy or an extension that does not exist is named, with those that do.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from copy import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from onboarding.application.pause_requests import PauseRequests
from onboarding.application.row_queries import (
    RowOrder,
    RowQuery,
    existing_names,
    machines_named,
    matching_history,
    matching_rows,
    matching_totals,
    unknown_names,
)
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.machines.request_runner import parse_outcome
from onboarding.cli.operations.pause import lines_of
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.cli.output import Form, add_output
from onboarding.cli.times import parse_since
from onboarding.cli.vm_arguments import add_vm_filter, read_selection, several_named
from onboarding.domain.errors import StorageError, did_you_mean
from onboarding.domain.failures.failure_rules import Cause
from onboarding.domain.json_access import printable
from onboarding.domain.reconcile.row import Row, WaitingFor

if TYPE_CHECKING:
    from onboarding.application.ports import LedgerReader, PauseStore
    from onboarding.cli.machines.status_output import RowWriter

_EVERY_S = 5.0


def add(commands: Commands) -> None:
    parser = add_command(commands, "status")
    add_vm_filter(parser)
    parser.add_argument(
        "--outcome", nargs="+", action="extend", type=parse_outcome, metavar="NAME", help="only these outcomes"
    )
    parser.add_argument("--policy", action="append", metavar="NAME", help="only what this policy decided")
    parser.add_argument("--extension", action="append", metavar="NAME", help="only this catalogue entry")
    parser.add_argument(
        "--cause", action="append", type=_cause, metavar="NAME", help="only failures of this cause, see docs/errors.md"
    )
    parser.add_argument(
        "--waiting-for",
        action="append",
        type=_wait,
        metavar="NAME",
        help="only what waits for this: vm-running, …",
    )
    parser.add_argument("--begins", metavar="TEXT", default="", help="only VMs whose name begins with this text")
    text = "only where the name, the system, the image or what the row says has this text"
    parser.add_argument("--text", metavar="TEXT", default="", help=text)
    parser.add_argument(
        "--attention", action="store_true", help="only what needs a person: Failed and Undetermined, found by an index"
    )
    since = "only where something happened since then: 30m, 2h, 7d, or a time such as 2026-11-20T09:00 (UTC)"
    parser.add_argument("--since", type=parse_since, metavar="TIME", help=since)
    sort = "order: name, outcome, time (latest first), next (check; soonest first) or duration (longest first)"
    parser.add_argument("--sort", choices=tuple(RowOrder), type=str.lower, metavar="BY", help=sort)
    parser.add_argument("--limit", type=_limit, metavar="N", help="the first N rows; of a history, the last N lines")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--history", action="store_true", help="everything that happened to the VM, oldest first")
    totals = "only the number of rows of each outcome, as the sweep counts them once an hour"
    shown.add_argument("--totals", action="store_true", help=totals)
    shown.add_argument(
        "--watch",
        nargs="?",
        const=_EVERY_S,
        type=_seconds,
        metavar="SECONDS",
        help=f"read and show the rows again, every {_EVERY_S:.0f} seconds or as given, until Ctrl-C",
    )
    parser.add_argument("--exact", action="store_true", help="with --totals: count the rows now")
    add_output(parser, note="json, jsonl and csv have all columns")
    parser.add_argument("--json", action="store_const", dest="output", const=Form.JSONL, help=argparse.SUPPRESS)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    query = read_query(args)
    if args.begins and query.selection.vm_name:
        raise BadInput("--begins", "a VM and --begins are given", "remove one of them")
    if args.history and not query.selection.vm_name:
        raise BadInput("--history", "no VM is named", "give its id, or its name, also as --vm NAME")
    if query.order is not None and (args.history or args.totals):
        fix = "remove --sort; a history is in the order of time"
        raise BadInput("--sort", "--sort is given with --history or --totals", fix)
    if args.attention and (args.history or args.totals):
        fix = "remove --attention; --outcome Failed Undetermined selects the same outcomes"
        raise BadInput("--attention", "--attention is given with --history or --totals", fix)
    if args.exact and not args.totals:
        raise BadInput("--exact", "--exact is given without --totals", "add --totals, or remove --exact")
    if args.watch is not None and (args.output is not Form.TABLE or not sys.stdout.isatty()):
        problem = "--watch draws a table on a terminal, and the output is another"
        raise BadInput("--watch", problem, "remove --watch, or write to a terminal with -o table")
    environment = environment_of(args)
    try:
        return asyncio.run(_show(args, query, environment))
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None
    except KeyboardInterrupt:
        if args.watch is None:
            raise
        return 0  # this is how a person ends it


def read_query(args: argparse.Namespace) -> RowQuery:
    return RowQuery(
        selection=replace(read_selection(args), vm_prefix=args.begins, outcomes=tuple(args.outcome or ())),
        policies=tuple(args.policy or ()),
        extensions=tuple(args.extension or ()),
        causes=tuple(args.cause or ()),
        waiting_for=tuple(args.waiting_for or ()),
        text=args.text,
        attention=args.attention,
        since=args.since,
        order=RowOrder(args.sort) if args.sort else None,
        limit=args.limit,
    )


def _cause(name: str) -> str:
    return _one_of("cause", {cause.value for cause in Cause}, name, "docs/errors.md lists them")


def _wait(name: str) -> str:
    waits = {wait.value for wait in WaitingFor}
    return _one_of("wait", waits, name, f"use {', '.join(sorted(waits))}")


def _one_of(what: str, known: Collection[str], name: str, otherwise: str) -> str:
    if name.lower() not in known:
        close = did_you_mean(known, name)
        fix = f"did you mean {close}?" if close else otherwise
        raise argparse.ArgumentTypeError(f"{name!r} is no {what}; {fix}")
    return name.lower()


def _limit(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows; write 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; write 1 or more")
    return seconds


async def _show(args: argparse.Namespace, query: RowQuery, environment: Mapping[str, str]) -> int:
    # Imported here because the table SDK and rich take long to load, and other commands do not need them.
    from onboarding.app import open_status, read_configuration
    from onboarding.cli.machines.status_output import open_writer, write_totals
    from onboarding.cli.machines.status_watch import watch

    async with open_status(environment) as opened:
        ledger, pauses = opened.ledger, opened.pauses
        if args.watch is not None:
            await watch(ledger, query, lambda: asyncio.sleep(args.watch), lambda: _paused(pauses))
        if args.output is Form.TABLE and not args.history:
            for line in await _paused(pauses):
                print(line)
        if args.totals:
            now = datetime.now(UTC)
            counted = await matching_totals(ledger, query, now, exact=args.exact)
            write_totals(counted, args.output, now)
            found = bool(counted.outcomes)
        else:
            rows = _history_of(ledger, query) if args.history else matching_rows(ledger, query)
            found = await _write(rows, open_writer(args.output, history=args.history))
        if not found and (query.policies or query.extensions):
            known = await existing_names(read_configuration(environment).rules, opened.policy_states)
            for text in unknown_names(query, *known):
                print(printable(text), file=sys.stderr)
        return 0 if found else 1


async def _paused(pauses: PauseStore) -> list[str]:
    """A line for each pause."""
    return lines_of(await PauseRequests(pauses, lambda: datetime.now(UTC)).active())


async def _write(rows: AsyncIterator[Row], writer: RowWriter) -> bool:
    """Returns whether there was a row."""
    found = False
    async for row in rows:
        writer.write(row)
        found = True
    writer.end()
    return found


async def _history_of(ledger: LedgerReader, query: RowQuery) -> AsyncIterator[Row]:
    """The history of the one VM that is selected, oldest first."""
    chosen = query.selection
    found = await machines_named(
        ledger, [chosen.vm_name], subscription=chosen.subscription, resource_group=chosen.resource_group
    )
    if len(found[chosen.vm_name]) > 1:
        raise several_named(chosen.vm_name, "VM", found[chosen.vm_name])
    for vm in found[chosen.vm_name]:
        for line in await matching_history(ledger, vm, query):
            yield line
