"""`onboard events`: whether events arrive. For each subscription the last event, the last count of the sweep, and how
many rows the sweep had to find; then the messages that failed too often, and the dead letters.

It reads the table, the queues and the container of dead letters, and changes nothing. Exit codes: 0 it was read, 2 bad
settings or arguments, or the table cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import Commands, as_json
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.cli.output import Form, add_output
from onboarding.domain.errors import StorageError

_HEADINGS = ("Subscription", "Last event", "Last count", "By events", "Lost", "Drifted")


def add(commands: Commands) -> None:
    parser = add_command(commands, "events")
    add_output(parser, (Form.TABLE, Form.JSON))
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    try:
        found = asyncio.run(_read(environment))
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None
    if args.output is Form.JSON:
        print(as_json(found, indent=1))
    else:
        _print(found)
    return 0


async def _read(environment: Mapping[str, str]) -> dict[str, Any]:
    from onboarding.app import now, open_ports, read_configuration
    from onboarding.application.reports.arrivals import arrivals

    async with open_ports(read_configuration(environment)) as ports:
        return await arrivals(ports, now())


def _print(found: Mapping[str, Any]) -> None:
    from onboarding.cli.console import open_console, plain_table, printable

    console = open_console()
    table = plain_table(*_HEADINGS)
    for each in found["subscriptions"]:
        numbers = (f"{each[name]:,}" for name in ("openedByEvents", "missed", "drifted"))
        table.add_row(printable(each["subscription"]), _moment(each["lastEvent"]), _moment(each["lastCount"]), *numbers)
    console.print(table if table.row_count else "the table has no row yet: no event arrived")
    for line in _lines(found):
        console.print(printable(line), soft_wrap=True)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"failed messages: {_number(found['poison'])}; scheduled: {_number(found['backlog'])}"
    letters = found["deadLetters"]
    if letters["problem"]:
        yield f"dead letters: not counted, {letters['problem']}"
        return
    yield f"dead letters: {letters['files']:,}{' or more' if letters['more'] else ''}"
    if letters["newest"]:
        yield f"the newest{' of those read' if letters['more'] else ''}: {_moment(letters['newest'])}"


def _number(value: int | None) -> str:
    return "not read" if value is None else f"{value:,}"


def _moment(text: str) -> str:
    return f"{text[:16].replace('T', ' ')} UTC" if text else "–"
