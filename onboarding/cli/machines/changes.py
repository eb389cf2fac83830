"""`onboard changes`: who changed what. Each write of ours to Azure: when, which machine and step, why, by whose hand,
with which request id, and what it came to.

Exit codes: 0 changes were found, 1 nothing matched, 2 bad settings or arguments, or the table cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from onboarding.application.change_queries import ChangeOrder, ChangeQuery, matching_changes, newest
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import Commands
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.cli.output import add_output
from onboarding.cli.times import parse_since
from onboarding.cli.vm_arguments import add_vm_filter, read_selection
from onboarding.domain.errors import StorageError
from onboarding.domain.reconcile.steps.step import StepKind

if TYPE_CHECKING:
    from onboarding.application.ports import LedgerReader
    from onboarding.cli.machines.change_output import ChangeWriter

_SINCE = timedelta(days=7)
_LIMIT = 1000
_EVERY_S = 5.0


def add(commands: Commands) -> None:
    parser = add_command(commands, "changes")
    add_vm_filter(parser)
    since = "since when: 30m, 2h, 7d, or a time such as 2026-11-20T09:00 (UTC; default: 7d)"
    parser.add_argument("--since", type=parse_since, metavar="TIME", help=since)
    parser.add_argument("--policy", action="append", metavar="NAME", help="only what this policy decided")
    steps = ", ".join(StepKind)
    parser.add_argument(
        "--step", nargs="+", action="extend", type=_step, metavar="NAME", help=f"only these steps: {steps}"
    )
    order = "order: time (newest first; default), or name (of group and VM), which needs no memory for many VMs"
    parser.add_argument("--sort", choices=tuple(ChangeOrder), type=str.lower, default=ChangeOrder.TIME, help=order)
    limit = f"the first N in that order (default: {_LIMIT:,} with --sort time, else all)"
    parser.add_argument("--limit", type=_limit, metavar="N", help=limit)
    add_output(parser, note="json, jsonl and csv have all ids")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    query = ChangeQuery(
        since=args.since or datetime.now(UTC) - _SINCE,
        selection=read_selection(args),
        policies=tuple(args.policy or ()),
        steps=tuple(args.step or ()),
    )
    environment = environment_of(args)
    try:
        return asyncio.run(_show(args, query, environment))
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None


async def _show(args: argparse.Namespace, query: ChangeQuery, environment: Mapping[str, str]) -> int:
    # Imported here because the table SDK and rich take long to load, and other commands do not need them.
    from onboarding.app import open_ledger
    from onboarding.cli.machines.change_output import open_writer

    async with open_ledger(environment) as ledger:
        writer = open_writer(args.output)
        return await write_changes(ledger, query, ChangeOrder(args.sort), args.limit, writer)


async def write_changes(
    ledger: LedgerReader, query: ChangeQuery, order: ChangeOrder, limit: int | None, writer: ChangeWriter
) -> int:
    """Write the changes in their order; returns the exit code. Raises StorageError."""
    changes = matching_changes(ledger, query, Progress())
    if order is ChangeOrder.TIME:
        shown, total = await newest(changes, limit or _LIMIT)
        for change in shown:
            writer.write(change)
        writer.end()
        if len(shown) < total:
            more = "--limit N shows more, and --sort name all of them"
            print(f"the newest {len(shown):,} of {total:,} changes; {more}", file=sys.stderr)
        return 0 if total else 1
    written = 0
    async for change in changes:
        if written == limit:
            break
        writer.write(change)
        written += 1
    writer.end()
    return 0 if written else 1


class Progress:
    """Says on standard error every five seconds how much of the history was read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = clock()
        self._lines = 0

    def __call__(self, lines: int) -> None:
        self._lines += lines
        if self._clock() - self._said >= _EVERY_S:
            self._said = self._clock()
            print(f"{self._lines:,} lines of the history read so far", file=sys.stderr)


def _step(text: str) -> StepKind:
    try:
        return StepKind(text.lower())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no step; use {', '.join(StepKind)}") from None


def _limit(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of changes; write 1 or more")
    return int(text)
