"""What `install` and `retry` share: ask for each VM, follow it while the person waits, and judge how it all went."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field

from onboarding.application.operator_requests import OperatorRequests, refuses_caller
from onboarding.cli.operations.preflight import login_problem
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.classification import Cause, classify, parse_errors
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.resource_id import VmId
from onboarding.loading.package_data import shared_errors

_AT_ONCE = 8
DONE, REFUSED, NOTHING_DONE, UNDER_WAY = 0, 1, 2, 3


class Patience(Struct, frozen=True):
    """How long to wait for all, and how often to look; `None` does not wait."""

    timeout: float | None
    interval: float = 10.0


class Answer(Struct, frozen=True):
    """What became of one VM: its rows, or why there are none. `denied`: ARM refused the person, nothing was done."""

    vm: VmId
    rows: Mapping[str, Row] = field(default_factory=dict)
    problem: str = ""
    denied: bool = False

    @property
    def code(self) -> int:
        """`DONE` when the extension is there and reports to the wanted place."""
        if not self.rows:
            return REFUSED
        missing = [row for row in self.rows.values() if not row.outcome.present or row.error_code]
        if any(row.outcome.final for row in missing):
            return REFUSED
        return UNDER_WAY if missing else DONE


def exit_code(answers: Iterable[Answer]) -> int:
    """0: all are onboarded; 1: some will not be; 2: the person may do nothing to any of them; 3: some are still on
    their way."""
    given = list(answers)
    if given and all(answer.denied for answer in given):
        return NOTHING_DONE
    codes = {answer.code for answer in given}
    return REFUSED if REFUSED in codes else UNDER_WAY if UNDER_WAY in codes else DONE


class Asking:
    """Asks for several VMs at once; `tell` hears of every change."""

    def __init__(
        self, requests: OperatorRequests, asked: OperatorRequest, grace_period: Patience, tell: Callable[[Row], None]
    ) -> None:
        self._requests = requests
        self._asked = asked
        self._patience = grace_period
        self._tell = tell
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def all(self, vms: Iterable[VmId]) -> list[Answer]:
        """In the order of the VMs. Raises StorageError."""
        return list(await asyncio.gather(*(self._one(vm) for vm in vms)))

    async def _one(self, vm: VmId) -> Answer:
        async with self._slots:
            try:
                rows = self._meant(await self._requests.handle(vm, self._asked))
            except ArmError as error:
                denied = refuses_caller(error, _now, shared_errors())
                return Answer(vm, problem=explain(error) + (" Nothing was written." if denied else ""), denied=denied)
        if not rows:
            return Answer(vm, problem=self._undecided())
        for row in rows.values():
            self._tell(row)
        return await self._follow(vm, rows)

    async def _follow(self, vm: VmId, rows: Mapping[str, Row]) -> Answer:
        if self._patience.timeout is None:
            return Answer(vm, rows)
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience.timeout
        while _worth_waiting(rows, left := deadline - clock()):
            await asyncio.sleep(min(self._patience.interval, left))
            try:
                seen = self._meant(await self._requests.follow(vm))
            except ArmError as error:
                return Answer(vm, rows, problem=f"cannot be followed any further: {explain(error)}")
            for extension, row in seen.items():
                if row.differs(rows.get(extension)):
                    self._tell(row)
            rows = seen
        return Answer(vm, rows)

    def _meant(self, rows: Mapping[str, Row]) -> Mapping[str, Row]:
        """The rows that the request is about: of a policy that was named, those that it decided."""
        name = self._asked.policy
        return {extension: row for extension, row in rows.items() if name in ("", row.policy)}

    def _undecided(self) -> str:
        if self._asked.policy:
            return f"policy {self._asked.policy} does not decide for this VM: another one comes first"
        return "no policy speaks of this VM"


def explain(error: ArmError) -> str:
    """What ARM refused, and what to do about it."""
    if (told := login_problem(error)) is not None:
        return f"{told}."
    failure = classify(error.evidence, parse_errors({}, shared_errors()), datetime.now(UTC))
    if failure.cause is Cause.VM_GONE:
        return f"ARM said {error}: there is no such VM; check subscription, resource group and name"
    return f"ARM said {error}: {failure.meaning} {failure.advice}"


def _now() -> datetime:
    return datetime.now(UTC)


def _open(row: Row) -> bool:
    return not row.outcome.final


def _worth_waiting(rows: Mapping[str, Row], left: float) -> bool:
    """Whether anything can change before the time is up. A request that somebody sends, or has sent, may end at any
    moment."""
    soon = datetime.now(UTC) + timedelta(seconds=left)
    checks = (row.in_flight or _due(row) <= soon for row in rows.values() if _open(row))
    return left > 0 and any(checks)


def _due(row: Row) -> datetime:
    return row.next_attempt_at or datetime.now(UTC)


def outcome_named(name: str) -> Outcome:
    """For argparse: the outcome of that name, in any spelling."""
    known = {outcome.lower(): outcome for outcome in Outcome}
    if name.lower() not in known:
        raise argparse.ArgumentTypeError(f"{name!r} is no outcome; use {', '.join(Outcome)}")
    return known[name.lower()]
