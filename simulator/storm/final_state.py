"""Read the final state of a storm: what really became of every VM, and the content of storage, log and topic."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.arm import Kind
from simulator.demo.fleet import Expectation, Member
from simulator.demo.ledger import Row, current_rows, is_machine
from simulator.laptop import Laptop
from simulator.storm.evidence import lacking, silent, unmet, unproved
from simulator.storm.gaps import sort_gaps
from simulator.storm.hosts import Hosts
from simulator.storm.invariant import WAITS_FOR_NEEDED, WAITS_FOR_PROOF, ExpectedRow, FinalState
from simulator.storm.others import Others
from simulator.storm.storage import checks, everything
from simulator.storm.targets import AGENTS, NEEDS, OMS, SECRETS, TARGETS, Target, expected, wanted

_CONTESTED = 3
# The sweep has nothing to do for these outcomes, so a VM whose event was lost has no row.
_NOTHING_TO_DO = ("AlreadyInstalled", "OutOfScope")


async def read_final_state(
    laptop: Laptop,
    hosts: Hosts,
    entities: Sequence[Mapping[str, Any]],
    known: Sequence[ExpectedRow],
    storage: Path,
    outages: int = 0,
    touched: Iterable[str] = (),
    migrating: Container[str] = (),
    pages: Iterable[str] = (),
    shown: Mapping[str, Mapping[str, int]] | None = None,
) -> FinalState:
    """Everything that the invariant is checked on: the table's `entities`, and what else there is. Stops Azurite, whose
    data is in `storage`.
    `touched` are the VMs whose identities somebody else changed, `migrating` those from which the old agent may go,
    `pages` what the page showed while a host ran, `shown` the rows by outcome, by what shows them."""
    rows = current_rows(entities)
    machines = [Row(entity) for entity in entities if is_machine(entity)]
    await asyncio.to_thread(laptop.azurite.close)
    ours = laptop.arm.options.principal_id
    published = laptop.topic.events
    return FinalState(
        expected_rows=known,
        rows=rows,
        machines=machines,
        checks=checks(storage),
        attempts=[attempt for attempt in laptop.arm.attempts if attempt.principal == ours],
        needs={target.handler: needed.handler for target, needed in NEEDS.items()},
        collisions=[each for each in laptop.arm.collisions if each.principal == ours and ours in each.principals],
        breakages=[each for each in laptop.arm.breakages if each.principal == ours],
        others_breakages=sum(each.principal != ours for each in laptop.arm.breakages),
        lacking=lacking(laptop.arm, rows, steps=hosts.steps),
        silent=silent(laptop.arm, rows) if hosts.steps else {},
        refused={each.action for each in laptop.arm.scopes.needed if each.principal == ours and not each.granted},
        touched={(vm, agent.handler) for vm in touched for agent in AGENTS},
        gaps=sort_gaps(laptop.arm, rows),
        removed=_removed_wrongly(laptop, migrating),
        despite_pause=hosts.sent_despite_pause(),
        outcome_events=published,
        interruptions=hosts.kills + outages,
        handled={version.name: hosts.handled(version) for version in hosts.versions},
        texts={
            "storage": everything(storage),
            "host's log": hosts.output(),
            "outcome events": str(published),
            "pages": "\n".join(pages),
        },
        secrets={**laptop.secrets(), **{name.replace("_", " ").lower(): value for name, value in SECRETS.items()}},
        shown=shown or {},
    )


def expected_rows(
    fleet: Iterable[Member],
    laptop: Laptop,
    others: Others,
    rows: Sequence[Row],
    *,
    steps: bool = True,
    extensions: int = 3,
) -> list[ExpectedRow]:
    """The row that each VM and extension of a fleet must have, given what happened to its events and requests, and what
    the others did to it. `rows` are those that are there: a removal waits for the row of another policy, and an
    extension for the one that it needs."""
    lost = {str(event["data"]["resourceUri"]).lower() for event in laptop.grid.lost}
    unproved_vms, lacks_needed = unproved(laptop.arm, rows), unmet(laptop.arm, rows)
    return [
        ExpectedRow(
            vm=member.id,
            name=member.spec.name,
            extension=target.extension,
            outcome=must.outcome,
            error=must.error,
            may_be_unknown=_may_be_unknown(member, must, target, targets, lost=member.id in lost),
            refusals=_refusals(laptop, others, member, target),
            may_end=_may_end(others, member, target),
            may_wait=(target is OMS and must.outcome == "Removed" and member.id in unproved_vms)
            or (member.id, target.extension) in lacks_needed,
            waits_for=WAITS_FOR_NEEDED if target in NEEDS else WAITS_FOR_PROOF,
        )
        for member in fleet
        for targets in (wanted(member, steps=steps, extensions=extensions),)
        for target in targets
        for must in (expected(member, target),)
    ]


def migrating(fleet: Iterable[Member]) -> frozenset[str]:
    """The VMs from which the old agent may go, by id in lower case."""
    return frozenset(each.id for each in fleet if expected(each, OMS).outcome == "Removed")


def _removed_wrongly(laptop: Laptop, may_go: Container[str]) -> list[tuple[str, str]]:
    """VM and name of each other extension whose removal the product requested."""
    requested = laptop.arm.requests.select(kind=Kind.EXTENSION_DELETE, principal=laptop.arm.options.principal_id)
    named = ((request.vm, request.path.rpartition("/")[2]) for request in requested)
    kept = {target.resource for target in TARGETS if target is not OMS}
    return [(vm, name) for vm, name in named if vm not in may_go or name in kept]


def _refusals(laptop: Laptop, others: Others, member: Member, target: Target) -> int:
    """Requests that ARM did not accept, and those that others undid, perhaps before we saw them succeed."""
    by = others.remover if target in AGENTS else others.engine if target is OMS else None
    undone = by.written[member.id] if by is not None else 0
    return undone + sum(
        (request.status == 0 or request.status >= 500)
        and (
            (request.kind is Kind.EXTENSION_PUT and request.path.endswith(f"/{target.resource}"))
            or (request.kind is Kind.VM_PATCH and target in AGENTS)
            or (request.kind is Kind.EXTENSION_DELETE and target is OMS)
        )
        for request in laptop.arm.requests.select(vm=member.id)
    )


def _may_end(others: Others, member: Member, target: Target) -> frozenset[str]:
    """The product adds nothing where an identity was lost, and stops after the third change within a week."""
    if target is OMS:
        return frozenset({"contested"}) if others.engine.written[member.id] >= _CONTESTED else frozenset()
    if target not in AGENTS:
        return frozenset()
    lost = {"identity-lost"} if others.identities.removed[member.id] else set()
    contested = {"contested"} if others.changes_of_agent[member.id] >= _CONTESTED else set()
    return frozenset(lost | contested)


def _may_be_unknown(
    member: Member, must: Expectation, target: Target, targets: Iterable[Target], *, lost: bool
) -> bool:
    """Whether no row is right. A VM may be deleted before its other extensions were decided; and only the event of its
    creation leaves a row that says out of scope, unless another event of the VM, or a check, comes first."""
    if must.outcome == "Gone":
        return target is not OMS
    if must.outcome == "OutOfScope" and any(expected(member, each).outcome != must.outcome for each in targets):
        return True
    # Of a policy that the VM is outside of; or where its row stays that of the policy.
    aside = must.outcome == "OutOfScope" and (not target.handler or not member.spec.os_type)
    return (must.outcome in _NOTHING_TO_DO and lost) or aside
