"""The invariant: what must be true at the end of every storm; the fault suite checks it too.

Every VM has one correct final row for each extension that a policy wants, no VM got a second effective install, or one
before the extension that it needs, or had two of our writes under way, every row that says installed has all that ARM
can prove, no VM lost its last agent that sends by us, every waiting row has exactly one scheduled check, every outcome
was published, the shipped roles suffice, and no secret is anywhere. Where hosts of several versions ran, each version
did its share. Only the product's traces are checked; none of its code is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from simulator.arm import Attempt, Breakage, Collision
from simulator.demo.ledger import Row
from simulator.storm.gaps import SortedGaps
from simulator.storm.storage import ScheduledCheckText

TWO_WRITES = "no VM had two of our writes under way"

# After this report, another request for the extension is right: the package manager was locked.
_WORTH_ANOTHER_TRY = ("ProvisioningState/failed/55",)
WAITS_FOR_PROOF = ("only-after", "heartbeat")
"""What a removal waits for that is never proved."""
WAITS_FOR_NEEDED = ("needed-extension",)
"""What an extension waits for that needs one which has failed."""
# The checks of a row that waits for ever go on, and may meet a fault.
_FAULTS = ("platform", "throttling")
# The kinds of work that each version must have a share of.
_SHARED = ("events", "messages", "sweeps", "calls")


@dataclass(frozen=True, slots=True)
class ExpectedRow:
    """The correct row of one VM and one extension, as the simulator knows it."""

    vm: str
    """The VM's id in lower case."""
    name: str
    """The VM's name."""
    extension: str
    """The catalogue's name of the extension."""
    outcome: str
    error: str = ""
    """The row's ErrorCode; empty without an error."""
    may_be_unknown: bool = False
    """Whether no row is correct too: its event was lost, and nothing has to be done for the VM."""
    refusals: int = 0
    """How many requests for the extension or its identity ARM did not accept."""
    may_end: frozenset[str] = frozenset()
    """The causes with which a row is right that leaves the VM to a person, because of what somebody else did to it."""
    may_wait: bool = False
    """Whether it is right that the row waits for ever: what a removal comes after cannot be proved, or the extension
    that this one needs has failed."""
    waits_for: Sequence[str] = WAITS_FOR_PROOF
    """What the row is waiting for if it may wait for ever."""

    def __str__(self) -> str:
        return f"{self.extension} on {self.name}"


@dataclass(frozen=True, slots=True)
class Handled:
    """What the hosts of one version did; only `failed` counts runs that failed."""

    events: int
    messages: int
    sweeps: int
    calls: int
    """Their ARM calls about VMs."""
    failed: int

    def __str__(self) -> str:
        done = f"{self.events} events, {self.messages} messages, {self.sweeps} sweeps, {self.calls} ARM calls about VMs"
        return f"{done}, {self.failed} failed runs"


@dataclass(frozen=True, slots=True)
class FinalState:
    """All that is known when nothing changes any more."""

    expected_rows: Sequence[ExpectedRow]
    rows: Sequence[Row]
    """The current rows of VMs and extensions."""
    machines: Sequence[Row]
    """The VMs' own rows."""
    checks: Sequence[ScheduledCheckText]
    """The scheduled checks on the queue, hidden or not."""
    attempts: Sequence[Attempt]
    """The product's writes of extensions."""
    needs: Mapping[str, str]
    """By handler: the one that has to succeed on a VM before this one is requested."""
    collisions: Sequence[Collision]
    """The product's writes that met another write of the product on the same VM."""
    breakages: Sequence[Breakage]
    """The product's writes of identities that took a token from an application of the VM, or gave it another's."""
    lacking: Mapping[tuple[str, str], Sequence[str]]
    """By VM and extension: what the VM lacks of all that the extension's policy wants; empty where all is there."""
    silent: Mapping[str, int]
    """How many installed agents send nothing, by reason: not a violation, because ARM cannot tell."""
    others_breakages: int
    """How many tokens of applications were lost or changed by other people's writes of identities: not a violation."""
    refused: Set[str]
    """The operations that the product tried and its roles do not allow."""
    touched: Set[tuple[str, str]]
    """VMs and handlers whose identities somebody else changed: then its agent may need other settings."""
    gaps: SortedGaps
    """The times in which no agent of a VM sent."""
    removed: Sequence[tuple[str, str]]
    """VM and name of each extension that the product removed and should not have."""
    despite_pause: Sequence[tuple[str, str]]
    """VM and words of each write that was sent although a person had paused all writes 30 seconds before."""
    outcome_events: Sequence[Mapping[str, Any]]
    """The events on the outcome topic."""
    interruptions: int
    """Deaths of a host and outages of storage; each may have published an outcome once more."""
    handled: Mapping[str, Handled]
    """The work of each version, by the version's name."""
    texts: Mapping[str, str] = field(repr=False)
    """The texts that are searched for secrets, by the place that a finding names."""
    secrets: Mapping[str, str] = field(repr=False)
    """The secrets, by the name that a finding shows."""
    shown: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """The rows by outcome after a sweep at rest, by what shows them."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation of the invariant; `vm` is the VM's id in lower case, empty if it is not about one VM."""

    vm: str
    says: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One part of the invariant, and its violations."""

    name: str
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        return not self.violations


def judge(final_state: FinalState, most_attempts: int = 5) -> list[Finding]:
    """Check every part of the invariant. A VM is given up after `most_attempts` refused requests."""
    return [
        Finding("every VM has one correct final row for each policy", tuple(_untrue(final_state, most_attempts))),
        Finding(
            "no second install was requested for a VM", tuple(_repeated(final_state.attempts, final_state.touched))
        ),
        Finding(
            "no extension was requested before the one that it needs had succeeded",
            tuple(_early(final_state.attempts, final_state.needs)),
        ),
        Finding(TWO_WRITES, tuple(_colliding(final_state.collisions))),
        Finding(
            "every row that says installed or removed has all that its policy wants", tuple(_incomplete(final_state))
        ),
        Finding(
            "no machine lost its last agent that sends by us",
            tuple(Violation(vm, says) for vm, says in final_state.gaps.wrong),
        ),
        Finding(
            "nothing was removed but old agents of VMs that migrate",
            tuple(
                Violation(vm, f"{name} on {_name(vm)} was removed by us, and no policy wants that")
                for vm, name in final_state.removed
            ),
        ),
        Finding(
            "no write was sent 30 seconds after a person's pause",
            tuple(Violation(vm, says) for vm, says in final_state.despite_pause),
        ),
        Finding("no application lost its token or got another's by us", tuple(_broken(final_state.breakages))),
        Finding(
            "the shipped roles allow every operation",
            tuple(Violation("", each) for each in sorted(final_state.refused)),
        ),
        Finding("every waiting row has exactly one scheduled check", tuple(_unattended(final_state))),
        Finding("every outcome was published", tuple(_unpublished(final_state))),
        Finding(
            "the page, `status --totals` and daily totals have the numbers of the table",
            tuple(_miscounted(final_state)),
        ),
        Finding("every version did its share", tuple(_idle(final_state.handled))),
        Finding(f"no secret in {', '.join(final_state.texts)}", tuple(_secrets(final_state))),
    ]


def row_is_right(expected_row: ExpectedRow, row: Row, most_attempts: int = 5) -> bool:
    """Whether the row is correct; giving up is correct only after ARM has refused often enough."""
    if row.outcome == "Waiting" and (expected_row.may_wait or expected_row.outcome == row.outcome):
        return row.text("WaitingFor") in (*expected_row.waits_for, *_FAULTS)
    if (row.outcome, row.text("ErrorCode")) == (expected_row.outcome, expected_row.error):
        return True
    left = row.text("Cause") in expected_row.may_end or expected_row.refusals >= most_attempts
    return row.outcome == "Failed" and left


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
        yield Violation(vm, f"{extension} on {_name(vm)} has a row, but no policy wants it there")


def _repeated(attempts: Iterable[Attempt], touched: Set[tuple[str, str]]) -> Iterator[Violation]:
    """A request is wrong if the handler is being installed, is installed, or has failed for good."""
    for attempt in attempts:
        if attempt.found == "Succeeded" and (attempt.vm, attempt.handler) in touched:
            continue
        if attempt.found == "Failed" and attempt.status in _WORTH_ANOTHER_TRY:
            continue
        if attempt.found:
            state = f"{attempt.found} {attempt.status}".strip()
            yield Violation(attempt.vm, f"{_name(attempt.vm)} got a request for {attempt.handler}, which was {state}")


def _early(attempts: Iterable[Attempt], needs: Mapping[str, str]) -> Iterator[Violation]:
    for attempt in attempts:
        needed = needs.get(attempt.handler)
        if needed is not None and needed not in attempt.succeeded:
            says = f"{_name(attempt.vm)} got a request for {attempt.handler} before {needed} had succeeded"
            yield Violation(attempt.vm, says)


def _colliding(collisions: Iterable[Collision]) -> Iterator[Violation]:
    for collision in collisions:
        others = ", ".join(collision.under_way)
        yield Violation(
            collision.vm, f"{_name(collision.vm)} got a request for {collision.handler} while we had {others} under way"
        )


def _incomplete(final_state: FinalState) -> Iterator[Violation]:
    for row in final_state.rows:
        lacking = final_state.lacking.get((row.vm, row.extension), ())
        if lacking:
            yield Violation(row.vm, f"{row.extension} on {_name(row.vm)} is {row.outcome} without {', '.join(lacking)}")


def _broken(breakages: Iterable[Breakage]) -> Iterator[Violation]:
    for each in breakages:
        has = each.after.rpartition("/")[2] or "none"
        yield Violation(
            each.vm,
            f"application {each.application} on {_name(each.vm)} had the token of {each.before.rpartition('/')[2]} and "
            f"has {has} after our write",
        )


def _unattended(final_state: FinalState) -> Iterator[Violation]:
    """A check is at the row's own time, for its extension or for the whole VM; or it is the check that the VM's own row
    names, at that time or before."""
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
            yield Violation(
                row.vm, f"{row.extension} on {row.text('VmName')} is {_state(row)} and has {count} scheduled checks"
            )


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
            yield Violation(
                row.vm, f"no event was published for {row.extension} on {row.text('VmName')}: {row.outcome}"
            )
    for event, times in Counter(str(event["id"]) for event in final_state.outcome_events).items():
        if times > 1 + final_state.interruptions:
            yield Violation("", f"the outcome event {event} was published {times} times")


def _idle(handled: Mapping[str, Handled]) -> Iterator[Violation]:
    """If one version left some kind of work to the others, the storm says nothing about two versions at once."""
    for kind in _SHARED:
        done = {name: getattr(work, kind) for name, work in handled.items()}
        for name, count in done.items():
            if not count and any(done.values()):
                yield Violation("", f"version {name} did no {kind}, and another version did")


def _miscounted(final_state: FinalState) -> Iterator[Violation]:
    rows = dict(Counter(row.outcome for row in final_state.rows))
    for name, shown in final_state.shown.items():
        if shown != rows:
            yield Violation("", f"{name}: {dict(sorted(shown.items()))}, and in the table {dict(sorted(rows.items()))}")


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
