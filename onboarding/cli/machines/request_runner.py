"""What `install`, `remove` and `retry` share: send a request for each VM, follow it while the person waits, and derive
the exit code."""

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

_CONCURRENT = 8  # VMs
DONE, REFUSED, NOTHING_DONE, UNDER_WAY = 0, 1, 2, 3


class WaitLimits(Struct, frozen=True):
    """How long and how often to check on a VM after its request."""

    timeout: float | None
    """Seconds for each VM; None: do not wait."""

    interval: float = 10.0
    """Seconds between two checks."""


class RequestResult(Struct, frozen=True):
    """What the request for one VM led to."""

    vm: VmId

    rows: Mapping[str, Row] = field(default_factory=dict)
    """The last rows that were seen, by extension; empty where the request wrote none."""

    problem: str = ""
    """Why there are no rows, or why the VM could not be followed to its end."""

    removal: bool = False
    """Whether the extension was to be removed."""

    denied: bool = False
    """ARM refused the person who is signed in, and nothing was written."""

    @property
    def code(self) -> int:
        """`DONE` when every extension is installed and reports to the wanted workspace, or when it is gone."""
        if not self.rows:
            return DONE if self.removal and not self.problem else REFUSED
        missing = [row for row in self.rows.values() if not self._is_done(row) or row.error_code]
        if any(row.outcome.final for row in missing):
            return REFUSED
        return UNDER_WAY if missing else DONE

    def _is_done(self, row: Row) -> bool:
        return row.outcome is Outcome.REMOVED if self.removal else row.outcome.present


def exit_code(results: Iterable[RequestResult]) -> int:
    """0: all are onboarded; 1: some failed or were refused; 2: the person has no access to any of them; 3: some are not
    finished yet."""
    given = list(results)
    if given and all(result.denied for result in given):
        return NOTHING_DONE
    codes = {result.code for result in given}
    return REFUSED if REFUSED in codes else UNDER_WAY if UNDER_WAY in codes else DONE


class RequestRunner:
    """Sends the request for several VMs concurrently, and calls `on_change` with every row that changes."""

    def __init__(
        self, requests: OperatorRequests, request: OperatorRequest, limits: WaitLimits, on_change: Callable[[Row], None]
    ) -> None:
        self._requests = requests
        self._request = request
        self._limits = limits
        self._on_change = on_change
        self._removal = request.removal is True
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def all(self, vms: Iterable[VmId]) -> list[RequestResult]:
        """The results in the order of the VMs. Raises StorageError."""
        return list(await asyncio.gather(*(self._one(vm) for vm in vms)))

    async def _one(self, vm: VmId) -> RequestResult:
        async with self._slots:
            try:
                rows = self._relevant(await self._requests.handle(vm, self._request))
            except ArmError as error:
                denied = refuses_caller(error, _now, shared_errors())
                return RequestResult(
                    vm, problem=explain_arm_error(error) + (" Nothing was written." if denied else ""), denied=denied
                )
        if not rows:
            return RequestResult(vm, problem="" if self._removal else self._why_no_row(), removal=self._removal)
        for row in rows.values():
            self._on_change(row)
        return await self._follow(vm, rows)

    async def _follow(self, vm: VmId, rows: Mapping[str, Row]) -> RequestResult:
        if self._limits.timeout is None:
            return RequestResult(vm, rows, removal=self._removal)
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._limits.timeout
        while _may_change_within(rows, left := deadline - clock()):
            await asyncio.sleep(min(self._limits.interval, left))
            try:
                seen = self._relevant(await self._requests.follow(vm, despite_pause=self._request.despite_pause))
            except ArmError as error:
                return RequestResult(
                    vm,
                    rows,
                    removal=self._removal,
                    problem=f"cannot be followed any further: {explain_arm_error(error)}",
                )
            for extension, row in seen.items():
                if row.differs(rows.get(extension)):
                    self._on_change(row)
            rows = seen
        return RequestResult(vm, rows, removal=self._removal)

    def _relevant(self, rows: Mapping[str, Row]) -> Mapping[str, Row]:
        """The rows that the request is about: all, or those of the named extension or that the named policy decided."""
        name, extension = self._request.policy, self._request.extension
        return {e: row for e, row in rows.items() if name in ("", row.policy) and extension in ("", e)}

    def _why_no_row(self) -> str:
        if self._request.policy:
            return f"policy {self._request.policy} does not decide for this VM: another policy has priority"
        return "no policy is about this VM"


def explain_arm_error(error: ArmError) -> str:
    """What ARM refused, and what the person can do about it."""
    if (problem := login_problem(error)) is not None:
        return f"{problem}."
    failure = classify(error.evidence, parse_errors({}, shared_errors()), datetime.now(UTC))
    if failure.cause is Cause.VM_GONE:
        return f"ARM said {error}: there is no such VM; check subscription, resource group and name"
    return f"ARM said {error}: {failure.meaning} {failure.advice}"


def _now() -> datetime:
    return datetime.now(UTC)


def _is_pending(row: Row) -> bool:
    return not row.outcome.final


def _may_change_within(rows: Mapping[str, Row], left: float) -> bool:
    """Whether a row can change in the seconds that are left: a request that is in flight may end at any moment, another
    row changes at its next attempt."""
    soon = datetime.now(UTC) + timedelta(seconds=left)
    checks = (row.in_flight or _due(row) <= soon for row in rows.values() if _is_pending(row))
    return left > 0 and any(checks)


def _due(row: Row) -> datetime:
    return row.next_attempt_at or datetime.now(UTC)


def parse_outcome(name: str) -> Outcome:
    """For argparse: the outcome of that name, in upper or lower case."""
    known = {outcome.lower(): outcome for outcome in Outcome}
    if name.lower() not in known:
        raise argparse.ArgumentTypeError(f"{name!r} is no outcome; use {', '.join(Outcome)}")
    return known[name.lower()]
