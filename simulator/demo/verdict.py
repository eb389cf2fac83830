"""The checks of the demo: each row is compared with what the simulator knows, calls and events are counted, and no
secret is anywhere. Only the product's traces are checked; none of its code is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from simulator.arm import Breakage, Kind, Obstacle
from simulator.arm.http.journal import Requests
from simulator.demo.fleet import Member
from simulator.demo.ledger import Row
from simulator.eventgrid.schema import Event


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known at the end of the demo. `rows` are by VM, or by VM and target under policies of one's own;
    `failures` are the host's log lines of runs that raised."""

    fleet: Sequence[Member]
    rows: Mapping[str, Row]
    requests: Requests
    repeated: Sequence[Event]
    outcome_events: Sequence[Mapping[str, Any]]
    undelivered: int
    failures: Sequence[str]
    lacking: Mapping[str, str] = field(default_factory=dict)
    """By VM with the agent of today: what it lacks of identity, extension and association."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """By VM with the agent of today: why its agent sends nothing; empty if data flows."""
    breakages: Sequence[Breakage] = ()
    """Applications that lost their token, or got another identity's, by a write of the product."""
    refused: Collection[str] = ()
    """Operations that the product tried and the shipped roles do not allow."""


@dataclass(frozen=True, slots=True)
class Check:
    """One condition that must hold, and its violations."""

    name: str
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


AT_FIRST_SIGHT = 3  # a GET and a PUT start an install, and a GET confirms its end


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of the summary; an average without values is absent (None)."""

    counts: Mapping[str, int]
    calls: int
    calls_per_onboarded: float | None
    calls_at_first_sight: float | None
    duplicates: int
    outcome_events: int
    median_to_put: float | None
    agents: int = 0
    """VMs on which the agent of today is installed."""
    silent: Mapping[str, int] = field(default_factory=dict)
    """How many of them send nothing, by reason: ARM cannot tell, and the product does not know."""


def judge(evidence: Evidence) -> list[Check]:
    """Every check except that of secrets, for the demo's own policies."""
    return [
        Check("every row is what the simulator knows to be correct", tuple(_wrong_rows(evidence))),
        Check(
            "as many ARM calls as the job has: three or four for an install at first sight, one where nothing is to do",
            tuple(_odd_calls(evidence)),
        ),
        Check(
            "every VM with the agent of today has its identity, extension and association",
            tuple(_incomplete(evidence)),
        ),
        *judge_any(evidence),
    ]


def judge_any(evidence: Evidence) -> list[Check]:
    """The checks that hold under any policies."""
    return [
        Check("every row has its final outcome or the time of its next check", tuple(_stuck(evidence))),
        Check(
            "no application lost its token", tuple(f"{each.application} on {each.vm}" for each in evidence.breakages)
        ),
        Check("the shipped roles allow every operation", tuple(sorted(evidence.refused))),
        Check("every outcome was published on the topic", tuple(_unpublished(evidence))),
        Check("every event was delivered", (f"{evidence.undelivered} were not",) if evidence.undelivered else ()),
        Check("no run of a function failed", tuple(evidence.failures)),
    ]


def search_secrets(secrets: Mapping[str, str], texts: Mapping[str, str]) -> Check:
    """Check that no text contains a secret; a finding shows the names of both."""
    found = [
        f"the {name} is in the {place}" for place, text in texts.items() for name, s in secrets.items() if s in text
    ]
    return Check(f"no secret in {', '.join(texts)}", tuple(found))


def figures(evidence: Evidence) -> Figures:
    onboarded = {row.vm for row in evidence.rows.values() if row.outcome == "Installed"}
    at_first_sight = {member.id for member in evidence.fleet if member.expected.calls == AT_FIRST_SIGHT}.intersection(
        onboarded
    )
    calls = {vm: evidence.requests.count(vm=vm) for vm in onboarded}
    rows = [row for row in evidence.rows.values() if row.vm in at_first_sight]
    to_put = [row.seconds_to_put for row in rows if row.seconds_to_put is not None]
    # Under policies of one's own something else may be installed on these machines.
    agents = {vm: reason for vm, reason in evidence.silent.items() if vm in onboarded and reason != Obstacle.NO_AGENT}
    return Figures(
        counts=Counter(row.outcome for row in evidence.rows.values()),
        calls=len(evidence.requests),
        calls_per_onboarded=mean(calls.values()) if calls else None,
        calls_at_first_sight=mean(calls[vm] for vm in at_first_sight) if at_first_sight else None,
        duplicates=len(evidence.repeated),
        outcome_events=len(evidence.outcome_events),
        median_to_put=median(to_put) if to_put else None,
        agents=len(agents),
        silent=Counter(filter(None, agents.values())),
    )


def matches(member: Member, row: Row) -> bool:
    """Whether the row has the expected outcome of that VM."""
    return row.outcome == member.expected.outcome and row.text("ErrorCode") == member.expected.error


def _stuck(evidence: Evidence) -> list[str]:
    return [
        f"{row.text('VmName')} is {row.outcome} ({row.text('Reason')}), and nothing is planned"
        for row in evidence.rows.values()
        if not row.final and row.next_attempt_at is None
    ]


def _wrong_rows(evidence: Evidence) -> list[str]:
    wrong = []
    for member in evidence.fleet:
        row = evidence.rows.get(member.id)
        must = f"{member.expected.outcome} {member.expected.error}".strip()
        if row is None:
            wrong.append(f"{member.spec.name} has no row; it must be {must}")
        elif not matches(member, row):
            found = f"{row.outcome} {row.text('ErrorCode')}".strip()
            wrong.append(f"{member.spec.name} is {found} ({row.text('Reason')}); it must be {must}")
    known = {member.id for member in evidence.fleet}
    return wrong + [f"{vm} has a row, but there is no such VM" for vm in evidence.rows if vm not in known]


def _odd_calls(evidence: Evidence) -> list[str]:
    """A concurrent copy of an event costs at most one read and a repeated association, and never a second PUT of an
    extension."""
    copies = Counter(_machine(event) for event in evidence.repeated)
    odd = []
    for member in evidence.fleet:
        if (expected := member.expected.calls) is None:
            continue
        calls = evidence.requests.count(vm=member.id)
        puts = evidence.requests.count(vm=member.id, kind=Kind.EXTENSION_PUT)
        most = expected + copies[member.id] * (2 if member.id in evidence.lacking else 1)
        if not expected <= calls <= most or puts != (expected >= AT_FIRST_SIGHT):
            odd.append(f"{member.spec.name} took {calls} calls, {puts} of them PUT; {expected} are right")
    return odd


def _incomplete(evidence: Evidence) -> list[str]:
    """Also where data flows although it must not, or not although it must: then the demo itself is wrong."""
    wrong = []
    for member in evidence.fleet:
        row = evidence.rows.get(member.id)
        if member.id not in evidence.lacking or row is None or row.outcome != "Installed":
            continue
        if lacks := evidence.lacking[member.id]:
            wrong.append(f"{member.spec.name} lacks {lacks}")
        elif (reason := evidence.silent[member.id]) != member.expected.silent:
            wrong.append(
                f"no data of {member.spec.name}: {reason or 'it flows'}; {member.expected.silent or 'it must flow'}"
            )
    return wrong


def _machine(event: Event) -> str:
    """The id, in lower case, of the VM that an event of ARM is about, or whose extension it is about."""
    return str(event["data"]["resourceUri"]).lower().partition("/extensions/")[0]


def _unpublished(evidence: Evidence) -> list[str]:
    published = {(str(e["subject"]).lower(), e["data"].get("Outcome")) for e in evidence.outcome_events}
    return [
        f"{row.text('VmName')} {row.outcome}"
        for row in evidence.rows.values()
        if row.final and (row.vm, row.outcome) not in published
    ]
