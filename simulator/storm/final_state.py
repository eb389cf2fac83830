"""Read the final state of a storm: what really became of every VM, and the content of storage, log and topic."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from simulator.arm import Kind, SecondParty
from simulator.demo.fleet import Expectation, Member
from simulator.demo.ledger import Ledger
from simulator.laptop import Laptop
from simulator.storm.hosts import Hosts
from simulator.storm.invariant import ExpectedRow, FinalState
from simulator.storm.storage import checks, everything
from simulator.storm.targets import AMA, TARGETS, Target, expected, missing

# The sweep has nothing to do for these outcomes, so a VM whose event was lost has no row.
_NOTHING_TO_DO = ("AlreadyInstalled", "OutOfScope")


async def read_final_state(
    laptop: Laptop,
    hosts: Hosts,
    known: Sequence[ExpectedRow],
    storage: Path,
    outages: int = 0,
    touched: Iterable[str] = (),
) -> FinalState:
    """Everything that the invariant is checked on. Stops the hosts and Azurite, whose data is in `storage`.
    `touched` are the VMs whose identities somebody else changed."""
    await hosts.stop()
    async with Ledger(laptop.azurite.connection_string) as ledger:
        rows, machines = await ledger.rows(), await ledger.machines()
    await asyncio.to_thread(laptop.azurite.close)
    ours = laptop.arm.options.principal_id
    published = laptop.topic.events
    return FinalState(
        expected_rows=known,
        rows=rows,
        machines=machines,
        checks=checks(storage),
        attempts=[attempt for attempt in laptop.arm.attempts if attempt.principal == ours],
        collisions=[each for each in laptop.arm.collisions if each.principal == ours and ours in each.principals],
        breakages=[each for each in laptop.arm.breakages if each.principal == ours],
        lacking={
            (machine.key, AMA.extension): missing(laptop.arm, machine.id, steps=hosts.steps)
            for machine in laptop.arm.machines
        },
        touched={(vm, AMA.handler) for vm in touched},
        outcome_events=published,
        interruptions=hosts.kills + outages,
        handled={version.name: hosts.handled(version) for version in hosts.versions},
        texts={"storage": everything(storage), "host's log": hosts.output(), "outcome events": str(published)},
        secrets=laptop.secrets(),
    )


def expected_rows(fleet: Iterable[Member], laptop: Laptop, others: SecondParty) -> list[ExpectedRow]:
    """The row that each VM and extension of a fleet must have, given what happened to its events and requests, and what
    the others did to its identities."""
    lost = {str(event["data"]["resourceUri"]).lower() for event in laptop.grid.lost}
    return [
        ExpectedRow(
            vm=member.id,
            name=member.spec.name,
            extension=target.extension,
            outcome=must.outcome,
            error=must.error,
            may_be_unknown=_may_be_unknown(must, target, lost=member.id in lost),
            refusals=_refusals(laptop, member, target),
            may_lose_identity=target is AMA and others.removed[member.id] > 0,
        )
        for member in fleet
        for target in TARGETS
        for must in (expected(member, target),)
    ]


def _refusals(laptop: Laptop, member: Member, target: Target) -> int:
    return sum(
        (request.status == 0 or request.status >= 500)
        and (
            (request.kind is Kind.EXTENSION_PUT and request.path.endswith(f"/{target.resource}"))
            or (request.kind is Kind.VM_PATCH and target is AMA)
        )
        for request in laptop.arm.requests.select(vm=member.id)
    )


def _may_be_unknown(must: Expectation, target: Target, *, lost: bool) -> bool:
    """A VM may also be deleted before its second extension was decided."""
    return (must.outcome in _NOTHING_TO_DO and lost) or (must.outcome == "Gone" and target is not TARGETS[0])
