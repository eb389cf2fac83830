"""How far machines have come from one agent to another, from the table's rows alone.

A removal policy with `onlyAfter` says from which extension to which policy. A row of the old extension says whether it
is still on the machine, and the row of the new policy whether that is satisfied. Whoever shows the progress asks here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from msgspec import Struct, field

from onboarding.domain.failures.classification import Cause
from onboarding.domain.policy.policy import Effect, PolicySet
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Row, Selection, WaitingFor
from onboarding.domain.resource_id import VmId, parse_id

# What a person has to end; every other wait ends by itself, or by what the machine's owner does anyway.
_WAITS_FOR_PERSON = (WaitingFor.PAUSED, WaitingFor.CONFIGURATION, WaitingFor.SCOPE_BREAKER)
_PERSONS_CAUSES = (Cause.WORKSPACE_UNREADABLE,)


class CurrentRows(Protocol):
    """What it needs of the ledger: the rows of a machine come one after the other."""

    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]: ...


class Migration(Struct, frozen=True):
    """From which extensions to which policy."""

    old: tuple[str, ...]
    """The names of the extensions that are to go, one for each operating system."""
    new: tuple[str, ...]
    """Those of the new policy."""
    policy: str
    """The new policy's name."""
    removal: str = ""
    """The name of the policy that removes the old ones; empty: no policy does yet."""


class State(StrEnum):
    """How far a machine is."""

    BOTH = "both"  # the new policy is satisfied, and the old extension is still there
    OLD = "only-old"  # the old extension is there, and the new policy is not satisfied
    NEW = "only-new"  # the new policy is satisfied, and the old extension is gone
    NEITHER = "neither"


class Why(NamedTuple):
    """Why a machine is not further: what its row says. All parts are empty where nothing is left to do."""

    policy: str = ""  # that decided the row
    outcome: str = ""  # empty: no row, since the policy has not decided on the machine
    reason: str = ""  # what the row waits for, else its cause; empty: the outcome says it all
    advice: str = ""
    needs_person: bool = False  # else it goes on by itself


class MachineProgress(Struct, frozen=True):
    """How far one machine is."""

    vm: VmId
    state: State
    why: Why
    old: Row | None
    """The row of the old extension; None: it has none."""
    new: Row | None
    """The row of the new policy."""

    @property
    def blocking(self) -> Row | None:
        """The row that says why the machine is not further; None: nothing is left to do, or no row says it."""
        if self.state is State.NEW:
            return None
        return self.old if self.state is State.BOTH else self.new


class Progress(Struct):
    """How far a fleet is: the number of machines that are equally far for the same reason, by subscription."""

    counts: Counter[tuple[str, State, Why]] = field(default_factory=Counter)

    def add(self, machine: MachineProgress) -> None:
        self.counts[machine.vm.subscription.lower(), machine.state, machine.why] += 1

    @property
    def subscriptions(self) -> Mapping[str, Mapping[State, int]]:
        """The number of machines by state, by subscription in the order of their ids."""
        found: dict[str, Counter[State]] = {}
        for (subscription, state, _), machines in sorted(self.counts.items()):
            found.setdefault(subscription, Counter())[state] += machines
        return found

    @property
    def reasons(self) -> Mapping[tuple[State, Why], int]:
        """The number of machines that are not done, by state and reason over all subscriptions, the most first."""
        found: Counter[tuple[State, Why]] = Counter()
        for (_, state, why), machines in self.counts.items():
            if state is not State.NEW:
                found[state, why] += machines
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def migrations(policies: PolicySet) -> tuple[Migration, ...]:
    """What the removal policies say that come after another policy which is there too."""
    named = {policy.name: policy for policy in policies.policies}
    return tuple(
        Migration(policy.extensions, named[policy.only_after.policy].extensions, policy.only_after.policy, policy.name)
        for policy in policies.policies
        if policy.removes and policy.only_after is not None and policy.only_after.policy in named
    )


async def machine_progress(
    ledger: CurrentRows, migration: Migration, selection: Selection = EVERYTHING
) -> AsyncIterator[MachineProgress]:
    """How far each machine is that has a row of the old extension or of the new policy, and is not gone. The rows are
    read once, in ranges of keys of one subscription after the other. Raises StorageError."""
    rows: list[Row] = []
    key = ""
    async for row in ledger.current(selection):
        vm = parse_id(row.resource_id)
        if not isinstance(vm, VmId):
            continue
        if vm.key != key:
            if rows and (progress := _progress(rows, migration)) is not None:
                yield progress
            rows, key = [], vm.key
        rows.append(row)
    if rows and (progress := _progress(rows, migration)) is not None:
        yield progress


def _progress(rows: Sequence[Row], migration: Migration) -> MachineProgress | None:
    """Of the rows of one machine; None if it is gone, or if none of them is about the migration."""
    known = [row for row in rows if row.outcome is not Outcome.GONE]
    old = next((row for row in known if row.extension in migration.old), None)
    open_target = f"policy:{migration.policy}"
    new = next((row for row in known if row.extension in (*migration.new, open_target)), None)
    vm = parse_id(rows[0].resource_id)
    if (old is None and new is None) or not isinstance(vm, VmId):
        return None
    satisfied = new is not None and new.outcome.present and new.policy == migration.policy
    there = old is not None and _is_there(old)
    state = {(True, True): State.BOTH, (True, False): State.OLD, (False, True): State.NEW}.get(
        (there, satisfied), State.NEITHER
    )
    found = MachineProgress(vm, state, Why(), old, new)
    if state is State.NEW:
        return found
    expected = migration.removal if state is State.BOTH else migration.policy
    return MachineProgress(vm, state, _why(found.blocking, expected), old, new)


def _is_there(row: Row) -> bool:
    """Whether the row says that its extension is on the machine."""
    if row.outcome is Outcome.REMOVED:
        return False
    if row.outcome.present:
        return True
    installs = row.effect != Effect.REMOVE and not row.outcome.final and not row.was
    return row.extension_name != "" and not installs  # the name of what is being installed is that of a request


def _why(row: Row | None, policy: str) -> Why:
    """Why the step that `policy` is to do is not done, as its row says. A row of another policy says no more than that
    the machine waits for this one."""
    if row is None or (row.outcome.present and row.policy != policy):
        return Why(policy, needs_person=not policy)
    reason = row.waiting_for.value if row.waiting_for else row.cause
    person = row.outcome.final or row.waiting_for in _WAITS_FOR_PERSON or row.cause in _PERSONS_CAUSES
    return Why(row.policy, row.outcome.value, reason, row.advice, person)
