"""`onboard status`: show the rows of the VMs in the table, or the history of one VM.

Exit codes: 0 rows were found, 1 nothing matched, 2 bad settings or arguments, or the table cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping
from copy import replace
from typing import TYPE_CHECKING

from onboarding.application.row_queries import machines_named
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.machines.request_runner import parse_outcome
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.cli.output import Form, add_output
from onboarding.cli.vm_arguments import add_vm_filter, read_selection, several_named
from onboarding.domain.errors import StorageError
from onboarding.domain.reconcile.row import Row, Selection

if TYPE_CHECKING:
    from onboarding.application.ports import LedgerReader
    from onboarding.cli.machines.status_output import RowWriter


def add(commands: Commands) -> None:
    parser = commands.add_parser("status", help="show the outcome of each VM, or the history of one")
    add_vm_filter(parser)
    parser.add_argument(
        "--outcome", nargs="+", action="extend", type=parse_outcome, metavar="NAME", help="only these outcomes"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--history", action="store_true", help="everything that happened to the VM, oldest first")
    shown.add_argument("--totals", action="store_true", help="only the number of VMs of each outcome")
    add_output(parser, note="json, jsonl and csv have all columns")
    parser.add_argument("--json", action="store_const", dest="output", const=Form.JSONL, help=argparse.SUPPRESS)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    selection = replace(read_selection(args), outcomes=tuple(args.outcome or ()))
    if args.history and not selection.vm_name:
        raise BadInput("--history", "no VM is named", "give its id, or its name, also as --vm NAME")
    environment = environment_of(args)
    try:
        return asyncio.run(_show(args, selection, environment))
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None


async def _show(args: argparse.Namespace, selection: Selection, environment: Mapping[str, str]) -> int:
    # Imported here because the table SDK and rich take long to load, and other commands do not need them.
    from onboarding.app import open_ledger
    from onboarding.cli.machines.status_output import open_writer, write_totals

    async with open_ledger(environment) as ledger:
        if args.totals:
            totals = await ledger.totals(selection)
            write_totals(totals, args.output)
            return 0 if totals else 1
        rows = _history_of(ledger, selection) if args.history else ledger.current(selection)
        return await _write(rows, open_writer(args.output, history=args.history))


async def _write(rows: AsyncIterator[Row], writer: RowWriter) -> int:
    found = False
    async for row in rows:
        writer.write(row)
        found = True
    writer.end()
    return 0 if found else 1


async def _history_of(ledger: LedgerReader, selection: Selection) -> AsyncIterator[Row]:
    """The history of the one VM that is selected, oldest first."""
    name, group = selection.vm_name, selection.resource_group
    found = await machines_named(ledger, [name], subscription=selection.subscription, resource_group=group)
    if len(found[name]) > 1:
        raise several_named(name, "VM", found[name])
    for vm in found[name]:
        lines = [line async for line in ledger.history(vm)]
        lines.reverse()  # so that entries of the same time keep their order
        lines.sort(key=lambda line: line.event_time.timestamp() if line.event_time else 0)
        for line in lines:
            if not selection.outcomes or line.outcome in selection.outcomes:
                yield line
