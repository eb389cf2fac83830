"""The times in which no agent of a machine sent, sorted by who has to answer for them.

A gap that begins with a removal of ours is wrong, unless nobody could have known: with `proof: arm`, where ARM cannot
see why the new agent sends nothing; or where somebody else stopped the new agent after it had been proved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from simulator.arm import ArmSimulator, Gap, Kind, Obstacle
from simulator.demo.ledger import Row
from simulator.storm.groups import WITHOUT_HEARTBEAT
from simulator.storm.targets import AGENTS

# What keeps a new agent from sending, and ARM does not show.
UNSEEN = frozenset({Obstacle.NETWORK, Obstacle.OTHER_SYSTEM, Obstacle.LATE_IDENTITY})
_REMOVAL = "extensions/delete"
# From the proof to the request: a slow answer, and the worst that faults add to it.
_ONE_PASS = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class SortedGaps:
    """All gaps of a storm."""

    wrong: Sequence[tuple[str, str]] = ()
    """The VM's id, and what the product should not have done."""
    unseen: Mapping[str, int] = field(default_factory=dict)
    """How many removals of ours with `proof: arm` left no agent that sends, by the reason that ARM cannot see."""
    undone: int = 0
    """How many removals of ours left none because somebody else had stopped the new agent after its proof."""
    by_others: Mapping[str, int] = field(default_factory=dict)
    """How many other people's writes began, by operation: on machines that still had their old agent, too."""


def sort_gaps(arm: ArmSimulator, rows: Iterable[Row]) -> SortedGaps:
    """The gaps of a storm; `rows` are the final ones."""
    ours = arm.options.principal_id
    removals: dict[str, list[datetime]] = {}
    for request in arm.requests.select(kind=Kind.EXTENSION_DELETE, principal=ours):
        removals.setdefault(request.vm, []).append(request.at)
    agents = {target.extension for target in AGENTS}
    satisfied = {
        row.vm: since for row in rows if row.extension in agents and (since := row.columns.get("SatisfiedSince"))
    }
    return sort(arm.gaps, ours, removals, satisfied)


def sort(
    gaps: Iterable[Gap], ours: str, removals: Mapping[str, Sequence[datetime]], satisfied: Mapping[str, datetime]
) -> SortedGaps:
    """`ours` is the product's principal. By VM, `removals` has the times of its removals, and `satisfied` since when
    the new agent's policy is satisfied by the final row."""
    wrong, unseen, others, undone = [], Counter[str](), Counter[str](), 0
    for gap in gaps:
        if gap.principal != ours:
            others[gap.operation or "unannounced"] += 1
        elif not gap.operation.endswith(_REMOVAL) or gap.silenced_by == ours:
            wrong.append((gap.vm, f"no agent on {_name(gap)} sends after our {gap.operation} ({gap.reason})"))
        elif _stopped_after_proof(gap, removals.get(gap.vm, ()), satisfied.get(gap.vm)):
            undone += 1
        elif WITHOUT_HEARTBEAT in gap.vm and gap.reason in UNSEEN:
            unseen[gap.reason] += 1
        else:
            wrong.append((gap.vm, f"no agent on {_name(gap)} sends after our removal: {gap.reason}"))
    return SortedGaps(tuple(wrong), dict(unseen), undone, dict(others))


def _stopped_after_proof(gap: Gap, removals: Sequence[datetime], satisfied: datetime | None) -> bool:
    """Whether somebody else stopped the new agent when it had been proved: by a heartbeat since its policy was
    satisfied, which counts for 15 minutes, longer than a storm; by ARM in the pass that sent the request."""
    requested = max((at for at in removals if at <= gap.began), default=gap.began)
    if WITHOUT_HEARTBEAT in gap.vm and gap.reason_since is not None and gap.reason_before in UNSEEN:
        return gap.reason_since >= requested - _ONE_PASS  # it sent nothing before, and ARM could not see why
    if gap.silenced_at is None:
        return False
    if gap.reason not in UNSEEN or WITHOUT_HEARTBEAT in gap.vm:
        return gap.silenced_at >= requested - _ONE_PASS
    if satisfied is None or satisfied > requested:
        return True  # it was satisfied anew, and nobody knows since when it was at the proof
    return gap.silenced_at >= satisfied


def _name(gap: Gap) -> str:
    return gap.vm.rpartition("/")[2]
