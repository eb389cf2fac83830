"""`python -m bench.programs.large_table --what NAME --vms N`: what the sweep does with a large table.

`seed` fills the table: N machines over four subscriptions, ten lines of history each, of which the last is older than
it is kept. One machine in a thousand waits for a check that was lost an hour ago, one in a hundred for one of tomorrow.
No machine has an index row: the first sweep writes them. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any

from bench.implementations import wire
from bench.parts import BenchFailed
from bench.programs.fleet import fleet_name, outcome_of
from bench.workload import SUBSCRIPTION, subscription_of
from onboarding.app import assemble, open_ledger, open_ports, read_configuration
from onboarding.application.row_queries import RowQuery, matching_totals, stored_subscriptions
from onboarding.application.sweep.row_counts import RowCounts
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.table_entities import to_wire
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.reconcile.row import Outcome
from onboarding.settings import HISTORY_DAYS, read_settings

SUBSCRIPTIONS = 4
LINES = 10  # of history, for each machine
LATE, WAITING = 1000, 100  # one machine in so many
_END_OF_TIME_MS = 9_999_999_999_999
_TRANSACTION, _AT_ONCE = 100, 4


def late(vms: int) -> int:
    """How many machines wait for a lost check."""
    return sum(number % LATE == 0 for number in range(vms))


def needing_a_person(vms: int) -> int:
    return sum(_outcome(number) is Outcome.UNDETERMINED for number in range(vms))


def totals(vms: int) -> dict[str, int]:
    counts = dict.fromkeys(Outcome, 0)
    for number in range(vms):
        counts[_outcome(number)] += 1
    return {outcome.value: count for outcome, count in counts.items() if count}


def _outcome(number: int) -> Outcome:
    return Outcome.WAITING if number % LATE == 0 or number % WAITING == 1 else outcome_of(number)


def _entities(number: int, now: datetime, lines: int) -> Iterator[dict[str, Any]]:
    """The current row of one machine, the machine's own row, and its history."""
    name, subscription = fleet_name(number), subscription_of(number % SUBSCRIPTIONS)
    current, line = wire.keys(name)
    row = {key: value for key, value in wire.row(name, current).items() if "@" not in key}
    row["PartitionKey"] = subscription
    row["ResourceId"] = row["ResourceId"].replace(SUBSCRIPTION, subscription)
    ended = now - timedelta(days=1)
    final: dict[str, Any] = {"Outcome": _outcome(number).value, "EventTime": ended, "RequestedAt": ended}
    for column in ("WaitingFor", "WaitingSince", "NextAttemptAt"):
        row.pop(column)
    if _outcome(number) is Outcome.WAITING:
        due = now - timedelta(hours=1) if number % LATE == 0 else now + timedelta(days=1)
        final |= {"WaitingFor": "vm-running", "WaitingSince": ended, "NextAttemptAt": due}
    else:
        final |= {"FinishedAt": ended, "DurationMs": 84_000}
    yield {**row, **final}
    check = {name: final[name] for name in ("NextAttemptAt",) if name in final}
    own = {"PartitionKey": subscription, "RowKey": current.rpartition("|")[0] + "|", "ResourceId": row["ResourceId"]}
    yield {**own, **check}
    head = line.rsplit("|", 2)[0]
    for each in range(lines):
        at = now - timedelta(days=HISTORY_DAYS + 1 if each == LINES - 1 else each + 1)
        inverted = _END_OF_TIME_MS - int(at.timestamp() * 1000)
        yield {**row, **final, "RowKey": f"{head}|{inverted:013d}|event-{each}", "EventTime": at}


async def _seed(vms: int, lines: int) -> dict[str, Any]:
    now, written = datetime.now(UTC), 0
    async with onboarding_table(read_settings(os.environ).storage, None) as table:

        async def put(entities: tuple[dict[str, Any], ...]) -> None:
            nonlocal written
            await table.transact([Write(to_wire(each)) for each in entities])
            written += len(entities)

        for part in range(SUBSCRIPTIONS):
            numbers = range(part, vms, SUBSCRIPTIONS)
            entities = (each for number in numbers for each in _entities(number, now, lines))
            for some in batched(batched(entities, _TRANSACTION, strict=False), _AT_ONCE, strict=False):
                await asyncio.gather(*(put(each) for each in some))
    return {"entities": written}


async def _prune() -> dict[str, Any]:
    """Prune the whole table in one go, which the sweep does in shares of a run; returns the longest step, too."""
    configuration = read_configuration(os.environ)
    rows, longest = 0, 0.0
    async with open_ports(configuration) as ports:
        began = time.monotonic()
        before = datetime.now(UTC) - timedelta(days=HISTORY_DAYS)
        async for subscription in stored_subscriptions(ports.ledger):
            at = time.monotonic()
            async for step in ports.ledger.prune(subscription, before):
                rows += step.rows
                longest, at = max(longest, time.monotonic() - at), time.monotonic()
        return {"seconds": time.monotonic() - began, "rows": rows, "longest_s": longest, "peak_mb": _peak_mb()}


async def _sweep() -> dict[str, Any]:
    configuration = read_configuration(os.environ)
    async with open_ports(configuration) as ports:
        began = time.monotonic()
        report = await assemble(ports, configuration).sweeper.run()
        taken = {"seconds": time.monotonic() - began, "peak_mb": _peak_mb()}
    if not report.complete:
        raise BenchFailed(f"the sweep did not finish: {report}")
    return {**taken, "overdue": report.overdue}


async def _count() -> dict[str, Any]:
    """Write the totals and the index rows of all subscriptions, as the sweep does, without the inventory."""
    configuration, now = read_configuration(os.environ), datetime.now(UTC)
    async with open_ports(configuration) as ports:
        counts = RowCounts(ports, now, timedelta(minutes=10), write=True, at_once=False)
        subscriptions = [each async for each in stored_subscriptions(ports.ledger)]
        for each in subscriptions:
            await counts.renew(each)
    return {"subscriptions": len(subscriptions)}


async def _due() -> dict[str, Any]:
    """Find what is due in all subscriptions, as the sweep does; then what needs a person, and the totals."""
    configuration, now = read_configuration(os.environ), datetime.now(UTC)
    async with open_ports(configuration) as ports:
        began = time.monotonic()
        subscriptions = [each async for each in stored_subscriptions(ports.ledger)]
        due = [check for each in subscriptions for check in await _listed(ports.ledger.overdue(each, now))]
        due_s = time.monotonic() - began
    async with open_ledger(os.environ) as ledger:
        began = time.monotonic()
        wanting = [row for each in subscriptions for row in await _listed(ledger.attention(each))]
        attention_s, began = time.monotonic() - began, time.monotonic()
        await matching_totals(ledger, RowQuery(), now)
        return {
            "due": len(due),
            "due_s": due_s,
            "attention": len(wanting),
            "attention_s": attention_s,
            "totals_s": time.monotonic() - began,
        }


async def _listed[T](found: AsyncIterator[T]) -> list[T]:
    return [each async for each in found]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=("seed", "prune", "sweep", "count", "due"), required=True)
    parser.add_argument("--vms", type=int, default=0)
    parser.add_argument("--lines", type=int, default=LINES, help="of history, for each machine")
    args = parser.parse_args()
    jobs = {"seed": lambda: _seed(args.vms, args.lines), "prune": _prune, "sweep": _sweep, "count": _count, "due": _due}
    print(json.dumps(asyncio.run(jobs[args.what]())))


if __name__ == "__main__":
    main()
