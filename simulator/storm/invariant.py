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
class Truth:
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
class Aftermath:
    """All that is known when nothing moves any more. `attempts` and `collisions` are the product's own, the latter with
    writes of the product itself; `machines` are the VMs' own rows. Each of the `interruptions`, a host's death or an
    outage of storage, may have had an outcome told once more."""

    truths: Sequence[Truth]
    rows: Sequence[Row]
    machines: Sequence[Row]
    checks: Sequence[ScheduledCheckText]
    attempts: Sequence[Attempt]
    collisions: Sequence[Collision]
    announced: Sequence[Mapping[str, Any]]
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


def judge(aftermath: Aftermath, most_attempts: int = 5) -> list[Finding]:
    """Every part of the invariant. `most_attempts` is after how many refused requests a VM is given up."""
    return [
        Finding("every VM has one true final row for each policy", tuple(_untrue(aftermath, most_attempts))),
        Finding("no VM was asked for a second install", tuple(_repeated(aftermath.attempts))),
        Finding(TWO_WRITES, tuple(_colliding(aftermath.collisions))),
        Finding("whoever waits has exactly one look", tuple(_unattended(aftermath))),
        Finding("every outcome was told", tuple(_untold(aftermath))),
        Finding(f"no secret in {', '.join(aftermath.texts)}", tuple(_secrets(aftermath))),
    ]


def is_true(truth: Truth, row: Row, most_attempts: int = 5) -> bool:
    """Whether the row says what is so; giving up is true only after ARM has refused often enough."""
    if (row.outcome, row.text("ErrorCode")) == (truth.outcome, truth.error):
        return True
    return row.outcome == "Failed" and truth.refusals >= most_attempts


def _untrue(aftermath: Aftermath, most_attempts: int) -> Iterator[Violation]:
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in aftermath.rows:
        rows.setdefault((row.vm, row.extension), []).append(row)
    for truth in aftermath.truths:
        found = rows.pop((truth.vm, truth.extension), [])
        must = f"must be {truth.outcome} {truth.error}".rstrip()
        if len(found) > 1:
            yield Violation(truth.vm, f"{truth} has {len(found)} rows; it {must}")
        elif found and not is_true(truth, found[0], most_attempts):
            yield Violation(truth.vm, f"{truth} is {_told(found[0])}; it {must}")
        elif not found and not truth.may_be_unknown:
            yield Violation(truth.vm, f"{truth} has no row; it {must}")
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


def _unattended(aftermath: Aftermath) -> Iterator[Violation]:
    """A look is at the row's own time, for its extension or for the whole VM; or it is the one that the VM's own row
    tells, at that time or before."""
    waiting: Counter[tuple[str, str, object]] = Counter(
        (look.vm, look.extension, look.due) for look in aftermath.checks
    )
    of_machines = {machine.vm: machine.columns.get("NextAttemptAt") for machine in aftermath.machines}
    for row in aftermath.rows:
        if row.final:
            continue
        due, of_machine = row.columns.get("NextAttemptAt"), of_machines.get(row.vm)
        count = waiting[(row.vm, row.extension, due)] + waiting[(row.vm, "", due)]
        if count == 0 and due and of_machine and of_machine < due:
            count = waiting[(row.vm, "", of_machine)]
        if count != 1:
            yield Violation(row.vm, f"{row.extension} on {row.text('VmName')} is {_told(row)} and has {count} looks")


def announced_outcomes(announced: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    """VM, extension and outcome of every event on the topic."""
    return {
        (str(event["subject"]).lower(), str(event["data"].get("Extension")), str(event["data"].get("Outcome")))
        for event in announced
    }


def _untold(aftermath: Aftermath) -> Iterator[Violation]:
    told = announced_outcomes(aftermath.announced)
    for row in aftermath.rows:
        if row.final and (row.vm, row.extension, row.outcome) not in told:
            yield Violation(row.vm, f"nobody was told that {row.extension} on {row.text('VmName')} is {row.outcome}")
    for event, times in Counter(str(event["id"]) for event in aftermath.announced).items():
        if times > 1 + aftermath.interruptions:
            yield Violation("", f"the outcome event {event} came {times} times")


def _secrets(aftermath: Aftermath) -> Iterator[Violation]:
    for place, text in aftermath.texts.items():
        for name, secret in aftermath.secrets.items():
            if secret in text:
                yield Violation("", f"the {name} is in the {place}")


def _told(row: Row) -> str:
    waiting = f" for {row.text('WaitingFor')}" if row.text("WaitingFor") else ""
    return f"{row.outcome}{waiting} {row.text('ErrorCode')}".rstrip() + f" ({row.text('Reason')})"


def _name(vm: str) -> str:
    return vm.rpartition("/")[2]
