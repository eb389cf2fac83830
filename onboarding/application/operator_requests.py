"""A person's request for chosen VMs: the same read, decision, claim and rows as for an event.

A request opens final rows again and probes open circuit breakers. While the person waits, the command reads the VM
itself instead of waiting for events and scheduled checks, so a request ends even if no function app runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import replace

from msgspec import Struct

from onboarding.application.limits.pauses import Pauses
from onboarding.application.notifications import EventRef
from onboarding.application.planned_steps import PlannedStep, in_words
from onboarding.application.ports import Arm, Clock, Ports
from onboarding.application.reconciling.reconciler import Reconciler
from onboarding.application.reconciling.reconciliation import Reconciliation
from onboarding.application.rules import Rules
from onboarding.domain.errors import ArmError, LostRace, OnboardingError
from onboarding.domain.failures.classification import (
    ExtensionState,
    classify,
    is_the_callers,
    parse_errors,
    read_extension_state,
)
from onboarding.domain.failures.error_table import SharedErrors
from onboarding.domain.failures.evidence import NO_TOKEN
from onboarding.domain.limits.pause import Pause
from onboarding.domain.masking import mask
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, OperatorRequest, Satisfied, Stop
from onboarding.domain.reconcile.row import Outcome, Row, Selection
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.logging import bound

_FORBIDDEN, _TOO_MANY, _SERVER_ERROR = 403, 429, 500


class Preview(Struct, frozen=True):
    """What a request would do for one extension of a VM."""

    context: DecisionContext
    """All that the decision rests on."""
    decision: Decision
    """What would be done, with the reason."""
    steps: tuple[PlannedStep, ...] = ()
    """What would become of each step; empty: the policy wants nothing of the VM."""


def described(preview: Preview) -> tuple[str, str]:
    """What would be done, in a word or two, and why, with the advice where there is a problem."""
    decision = preview.decision
    advice = ""
    if isinstance(decision, Satisfied | Stop) and decision.problem is not None:
        advice = f"\n{decision.problem.advice}"
    match decision:
        case Act(step=StepKind.REMOVAL):
            would = "remove"
        case Act():
            would = "update" if _is_there(preview) else "install"
        case Stop(outcome=Outcome.REMOVED):
            would = "leave"
        case Satisfied():
            would = "complete" if in_words(preview.steps) else "leave"
        case Stop(outcome=outcome):
            would = f"refuse ({outcome})"
        case _:
            would = "wait"
    return would, mask(f"{decision.reason}{advice}")


def _is_there(preview: Preview) -> bool:
    extension = preview.context.extension
    return extension is not None and read_extension_state(extension) is ExtensionState.SUCCEEDED


class NoAccess(OnboardingError):
    """ARM does not show the subscription to the person; no other request was sent.

    `subscription` is empty if ARM shows no subscription at all. `error` is ARM's refusal; None if ARM accepts the
    login and lists nothing."""

    def __init__(self, subscription: str, error: ArmError | None) -> None:
        super().__init__(f"subscription {subscription}: {error}")
        self.subscription = subscription
        self.error = error


class Paused(OnboardingError):
    """A person has paused what a request would do; nothing was sent or written."""

    def __init__(self, pause: Pause) -> None:
        super().__init__(str(pause))
        self.pause = pause


async def check_access(arm: Arm, subscriptions: Iterable[str]) -> None:
    """Read each subscription once, before anything is written.

    Raises NoAccess for the first subscription that ARM does not show, or if ARM does not answer. Throttling and server
    errors pass: each VM waits for their end by itself."""
    seen: frozenset[str] | None = None
    for subscription in sorted({each.lower() for each in subscriptions}):
        try:
            await arm.check_access(subscription)
        except ArmError as error:
            if _is_transient(error):
                continue
            if error.evidence.http_status == _FORBIDDEN:
                # This proves nothing: a role on a group or on a VM is enough to onboard it.
                seen = await _visible_subscriptions(arm) if seen is None else seen
                if subscription in seen:
                    continue
            raise NoAccess(subscription, error) from None


async def check_any_access(arm: Arm) -> None:
    """List the subscriptions. Raises NoAccess if ARM lists none, or as `check_access`."""
    try:
        if await arm.list_subscriptions():
            return
    except ArmError as error:
        if _is_transient(error):
            return
        raise NoAccess("", error) from None
    raise NoAccess("", None)


def _is_transient(error: ArmError) -> bool:
    status = error.evidence.http_status
    return status is not None and (status == _TOO_MANY or status >= _SERVER_ERROR)


async def _visible_subscriptions(arm: Arm) -> frozenset[str]:
    try:
        return frozenset(subscription.lower() for subscription in await arm.list_subscriptions())
    except ArmError:
        return frozenset()


def no_token(error: ArmError) -> bool:
    """Whether the request failed because there was no token."""
    return error.evidence.code in NO_TOKEN


def refuses_caller(error: ArmError, clock: Clock, shared: SharedErrors) -> bool:
    """Whether ARM refused because of the caller: a login or a right is missing. This is no fact about the VM."""
    return is_the_callers(error.evidence, classify(error.evidence, parse_errors({}, shared), clock()))


class OperatorRequests:
    """Carries out a person's requests. One per command."""

    def __init__(self, ports: Ports, rules: Rules, reconciler: Reconciler, pauses: Pauses) -> None:
        self._ports = ports
        self._pauses = pauses
        self._reconciler = reconciler
        self._extensions = frozenset(rules.catalogue)

    async def check_access(self, vms: Iterable[VmId]) -> None:
        """Raises NoAccess if ARM does not show one of the VMs' subscriptions to the person."""
        await check_access(self._ports.arm, (vm.subscription for vm in vms))

    async def check_pauses(self, vms: Iterable[VmId], request: OperatorRequest) -> None:
        """Raises Paused if everything that the request may send for one of the VMs is paused: a request for all
        policies goes on beside the pause of one. Raises StorageError."""
        policies = (request.policy,) if request.policy else ()
        for vm in {vm.subscription.lower(): vm for vm in vms}.values():
            if (pause := await self._pauses.find(vm, policies)) is not None:
                raise Paused(pause)

    async def handle(self, vm: VmId, request: OperatorRequest) -> Mapping[str, Row]:
        """Reconcile the VM for the request; returns the VM's rows by extension. A request that does not say by
        whom is made by whoever calls ARM. Raises StorageError, and ArmError for a VM that cannot be read and has no
        row, or that the person may not read or write."""
        by = request.by or await self.caller()
        with suppress(LostRace):  # the worker that wrote first handles the VM
            await self._reconcile(await self._begin(vm, replace(request, by=by)))
        return await self.rows(vm)

    async def caller(self) -> str:
        """The object id of whoever calls ARM; empty if unknown."""
        return await self._ports.caller() if self._ports.caller is not None else ""

    async def check(self, vm: VmId, by: str) -> Mapping[str, Row]:
        """Reconcile the VM now, as for an event of it; the history says that this person asked for it. Raises as
        `handle`."""
        work = await self._begin(vm, None)
        with suppress(LostRace):
            await self._reconcile(work)
        rows = await self.rows(vm)
        for row in rows.values():
            await self._ports.ledger.append(replace(row, by=by), work.trigger)
        return rows

    async def follow(self, vm: VmId, *, despite_pause: bool = False) -> Mapping[str, Row]:
        """The VM's rows by extension, after a reconciliation if one of them is not final; `despite_pause` as in the
        request that is followed. Raises StorageError, and ArmError if ARM refuses the person: then the rows are
        unchanged, and the function app continues."""
        rows = await self.rows(vm)
        if all(row.outcome.final for row in rows.values()):
            return rows
        with suppress(LostRace):
            await self._reconcile(replace(await self._begin(vm, None), despite_pause=despite_pause))
        return await self.rows(vm)

    async def preview(self, vm: VmId, request: OperatorRequest) -> tuple[Preview, ...]:
        """What `handle` would do. ARM is only read, and nothing is written. Raises as `handle`."""
        work = await self._begin(vm, request)
        with bound(machine=str(vm), event_id=work.trigger.id):
            targets = await self._reconciler.preview(work)
        return tuple(Preview(target.context, decision, steps) for target, decision, steps in targets)

    async def select(self, selection: Selection, policy: str = "") -> tuple[VmId, ...]:
        """The VMs of the selected rows, each once; `policy` keeps only the rows of that policy, empty keeps all.
        Raises StorageError."""
        found: dict[str, VmId] = {}
        async for row in self._ports.ledger.current(selection):
            if policy in ("", row.policy) and isinstance(vm := parse_id(row.resource_id), VmId):
                found[vm.key] = vm
        return tuple(found.values())

    async def rows(self, vm: VmId) -> Mapping[str, Row]:
        known = await self._ports.ledger.read(vm)
        return {extension: stored.row for extension, stored in known.targets.items()}

    async def _reconcile(self, work: Reconciliation) -> None:
        with bound(machine=str(work.vm), event_id=work.trigger.id):
            await self._reconciler.reconcile(work)

    async def _begin(self, vm: VmId, request: OperatorRequest | None) -> Reconciliation:
        now = self._ports.clock()
        reason = "request" if request else "request.look"
        trigger = EventRef(f"{reason}.{now:%Y%m%dt%H%M%S.%fz}", now)
        cleared = self._extensions if request else frozenset()
        return Reconciliation(
            vm,
            trigger,
            await self._ports.ledger.read(vm),
            now,
            cleared=cleared,
            request=request,
            personal=True,
            despite_pause=request is not None and request.despite_pause,
        )
