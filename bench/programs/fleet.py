"""`python -m bench.programs.fleet --vms N`: fill the table with a row for each VM of an onboarded fleet.

Resource Graph lists the same fleet (`page_of`); every hundredth VM lacks the extension that its row names.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any

from bench.implementations import wire
from bench.workload import vm_name
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import to_wire
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.reconcile.row import Outcome
from onboarding.settings import read_settings

LACKING = 100  # one VM in so many
PAGE = 1000  # the largest page of Resource Graph and of a table
_TRANSACTION = 100  # the most writes of one transaction
_AT_ONCE = 4
_OF_WAITING = ("WaitingFor", "WaitingSince", "NextAttemptAt")
# The outcome of a VM, by the last two digits of its number: below 90 it is installed, and so on.
_ENDS = {90: Outcome.INSTALLED, 94: Outcome.ALREADY_INSTALLED, 98: Outcome.UNSUPPORTED, 100: Outcome.UNDETERMINED}


def fleet_name(number: int) -> str:
    return vm_name("fleet", number)


def lacks(number: int) -> bool:
    return number % LACKING == 0


def outcome_of(number: int) -> Outcome:
    return next(outcome for end, outcome in _ENDS.items() if number % 100 < end)


def totals(vms: int) -> Counter[str]:
    """How many rows there are of each outcome."""
    return Counter(outcome_of(number).value for number in range(vms))


def entities(vms: int) -> Iterator[dict[str, Any]]:
    """The rows, as wide as those of the product."""
    ended = datetime.now(UTC) - timedelta(days=1)
    for number in range(vms):
        name = fleet_name(number)
        row = wire.row(name, wire.keys(name)[0])
        kept = {key: value for key, value in row.items() if "@" not in key and key not in _OF_WAITING}
        end = {"Outcome": outcome_of(number).value, "FinishedAt": ended, "EventTime": ended, "RequestedAt": ended}
        yield {**kept, **end, "DurationMs": 84_000}


def page_of(vm: bytes, equipped: bytes, name: bytes, first: int, last: int) -> bytes:
    """Resource Graph's rows of the VMs from `first` to before `last`, made from templates that contain `name`."""
    rows = (
        (vm if lacks(number) else equipped).replace(name, fleet_name(number).encode()) for number in range(first, last)
    )
    return b"[" + b",".join(rows) + b"]"


async def _fill(table: TableClient, vms: int) -> None:
    async def put(rows: tuple[dict[str, Any], ...]) -> None:
        await table.transact([Write(to_wire(row), create=True) for row in rows])

    for some in batched(batched(entities(vms), _TRANSACTION, strict=False), _AT_ONCE, strict=False):
        await asyncio.gather(*(put(rows) for rows in some))


async def _run(vms: int) -> None:
    async with onboarding_table(read_settings(os.environ).storage, None) as table:
        await _fill(table, vms)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vms", type=int, required=True)
    asyncio.run(_run(parser.parse_args().vms))
    print("{}")


if __name__ == "__main__":
    main()
