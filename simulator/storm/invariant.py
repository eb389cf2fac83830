"""What must hold when a storm is over, whatever happened in it; the fault suite asks the same.

Every VM has one true final row for each extension that a policy wants, none got a second effective install, none had
two of our writes under way, none waits without exactly one look, every outcome was told, and no secret is anywhere.
What the product did is judged by its traces alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.arm import Attempt, Collision
from simulator.demo.ledger import Row
from simulator.storm.storage import ScheduledCheckText

TWO_WRITES = "no VM had two of our writes under way"

# What an extension may have reported when it is asked for again: the package manager was locked.
_WORTH_ANOTHER_TRY = ("ProvisioningState/failed/55",)


@dataclass(frozen=True, slots=True)
class ExpectedRow:
    """What the simulator knows of one VM and one extension. `may_be_unknown`: its event was lost and there is nothing
    to do for it, so that no row is right as well. `refusals` counts the requests for the extension that ARM did not
    take."""

    vm: str
    name: str
    extension: str
    outcome: str
    error: str = ""
    may_be_unknown: bool = False
    refusals: int = 0

    def __str__(self) -> str:
        return f"{self.extension} on {self.name}"


@dataclass(frozen=True, slots=True)
class FinalState:
    """All that is known when nothing moves any more. `attempts` and `collisions` are the product's own, the latter with
    writes of the product itself; `machines` are the VMs' own rows. Each of the `interruptions`, a host's death or an
    outage of storage, may have had an outcome told once more."""

    expected_rows: Sequence[ExpectedRow]
    rows: Sequence[Row]
    machines: Sequence[Row]
    checks: Sequence[ScheduledCheckText]
    attempts: Sequence[Attempt]
    collisions: Sequence[Collision]
    outcome_events: Sequence[Mapping[str, Any]]
    interruptions: int
    texts: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where the invariant does not hold; `vm` is the VM's id in lower case, if it is about one."""

    vm: str
    says: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One part of the invariant, and where it does not hold."""

    name: str
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        return not self.violations


def judge(final_state: FinalState, most_attempts: int = 5) -> list[Finding]:
    """Every part of the invariant. `most_attempts` is after how many refused requests a VM is given up."""
    return [
        Finding("every VM has one true final row for each policy", tuple(_untrue(final_state, most_attempts))),
        Finding("no VM was asked for a second install", tuple(_repeated(final_state.attempts))),
        Finding(TWO_WRITES, tuple(_colliding(final_state.collisions))),
        Finding("whoever waits has exactly one look", tuple(_unattended(final_state))),
        Finding("every outcome was told", tuple(_unpublished(final_state))),
        Finding(f"no secret in {', '.join(final_state.texts)}", tuple(_secrets(final_state))),
    ]


def row_is_right(expected_row: ExpectedRow, row: Row, most_attempts: int = 5) -> bool:
    """Whether the row says what is so; giving up is true only after ARM has refused often enough."""
    if (row.outcome, row.text("ErrorCode")) == (expected_row.outcome, expected_row.error):
        return True
    return row.outcome == "Failed" and expected_row.refusals >= most_attempts


def _untrue(final_state: FinalState, most_attempts: int) -> Iterator[Violation]:
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in final_state.rows:
        rows.setdefault((row.vm, row.extension), []).append(row)
    for expected_row in final_state.expected_rows:
        found = rows.pop((expected_row.vm, expected_row.extension), [])
        must = f"must be {expected_row.outcome} {expected_row.error}".rstrip()
        if len(found) > 1:
            yield Violation(expected_row.vm, f"{expected_row} has {len(found)} rows; it {must}")
        elif found and not row_is_right(expected_row, found[0], most_attempts):
            yield Violation(expected_row.vm, f"{expected_row} is {_state(found[0])}; it {must}")
        elif not found and not expected_row.may_be_unknown:
            yield Violation(expected_row.vm, f"{expected_row} has no row; it {must}")
    for vm, extension in rows:
        yield Violation(vm, f"{extension} on {_name(vm)} has a row, and nobody wants it there")


def _repeated(attempts: Iterable[Attempt]) -> Iterator[Violation]:
    """A request is in vain, or worse, where the handler is at work, has done its work, or has failed for good."""
    for attempt in attempts:
        if attempt.found == "Failed" and attempt.status in _WORTH_ANOTHER_TRY:
            continue
        if attempt.found:
            state = f"{attempt.found} {attempt.status}".strip()
            yield Violation(attempt.vm, f"{_name(attempt.vm)} was asked for {attempt.handler} that was {state}")


def _colliding(collisions: Iterable[Collision]) -> Iterator[Violation]:
    for collision in collisions:
        others = ", ".join(collision.under_way)
        yield Violation(
            collision.vm, f"{_name(collision.vm)} was asked for {collision.handler} while we had {others} under way"
        )


def _unattended(final_state: FinalState) -> Iterator[Violation]:
    """A look is at the row's own time, for its extension or for the whole VM; or it is the one that the VM's own row
    tells, at that time or before."""
    waiting: Counter[tuple[str, str, object]] = Counter(
        (check.vm, check.extension, check.due) for check in final_state.checks
    )
    of_machines = {machine.vm: machine.columns.get("NextAttemptAt") for machine in final_state.machines}
    for row in final_state.rows:
        if row.final:
            continue
        due, of_machine = row.columns.get("NextAttemptAt"), of_machines.get(row.vm)
        count = waiting[(row.vm, row.extension, due)] + waiting[(row.vm, "", due)]
        if count == 0 and due and of_machine and of_machine < due:
            count = waiting[(row.vm, "", of_machine)]
        if count != 1:
            yield Violation(row.vm, f"{row.extension} on {row.text('VmName')} is {_state(row)} and has {count} looks")


def published_outcomes(outcome_events: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """VM, extension and outcome of every event on the topic."""
    return {
        (str(event["subject"]).lower(), str(event["data"].get("Extension")), str(event["data"].get("Outcome")))
        for event in outcome_events
    }


def _unpublished(final_state: FinalState) -> Iterator[Violation]:
    published = published_outcomes(final_state.outcome_events)
    for row in final_state.rows:
        if row.final and (row.vm, row.extension, row.outcome) not in published:
            yield Violation(row.vm, f"nobody was told that {row.extension} on {row.text('VmName')} is {row.outcome}")
    for event, times in Counter(str(event["id"]) for event in final_state.outcome_events).items():
        if times > 1 + final_state.interruptions:
            yield Violation("", f"the outcome event {event} came {times} times")


def _secrets(final_state: FinalState) -> Iterator[Violation]:
    for place, text in final_state.texts.items():
        for name, secret in final_state.secrets.items():
            if secret in text:
                yield Violation("", f"the {name} is in the {place}")


def _state(row: Row) -> str:
    waiting = f" for {row.text('WaitingFor')}" if row.text("WaitingFor") else ""
    return f"{row.outcome}{waiting} {row.text('ErrorCode')}".rstrip() + f" ({row.text('Reason')})"


def _name(vm: str) -> str:
    return vm.rpartition("/")[2]
