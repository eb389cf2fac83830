"""A person's request for chosen VMs: the same reading, decision, claim and row as for an event.

What a person adds is a reason: a final row opens again, a paused scope is probed. While the person waits, what would
come by event or timed message is looked for as well, so that the request ends even where no function app runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from msgspec import Struct

from onboarding.application.notifications import EventRef
from onboarding.application.ports import Arm, Clock, Ports
from onboarding.application.reconciling.reconciler import Reconciler
from onboarding.application.reconciling.reconciliation import Reconciliation
from onboarding.application.rules import Rules
from onboarding.domain.errors import ArmError, LostRace, OnboardingError
from onboarding.domain.failures.classification import classify, is_the_callers, parse_errors
from onboarding.domain.failures.error_table import SharedErrors
from onboarding.domain.failures.evidence import NO_TOKEN
from onboarding.domain.reconcile.decision import Decision, DecisionContext, OperatorRequest
from onboarding.domain.reconcile.row import Row, Selection
from onboarding.domain.resource_id import VmId, parse_id

_FORBIDDEN, _TOO_MANY, _SERVER_ERROR = 403, 429, 500


class Preview(Struct, frozen=True):
    """What would be done for one extension of a VM, and on what grounds."""

    context: DecisionContext
    decision: Decision


class NoAccess(OnboardingError):
    """ARM does not serve the person for that subscription, or for none at all; nothing was asked of it but that.
    Without an error, ARM knows the login and shows it nothing."""

    def __init__(self, subscription: str, error: ArmError | None) -> None:
        super().__init__(f"subscription {subscription}: {error}")
        self.subscription = subscription
        self.error = error


async def check_access(arm: Arm, subscriptions: Iterable[str]) -> None:
    """Ask for each subscription once, before anything is written. Raises NoAccess for the first that ARM does not
    show to whoever is signed in, and where ARM does not answer at all; throttling and platform trouble are waited for
    as with any VM."""
    seen: frozenset[str] | None = None
    for subscription in sorted({each.lower() for each in subscriptions}):
        try:
            await arm.check_access(subscription)
        except ArmError as error:
            if _is_transient(error):
                continue
            if error.evidence.http_status == _FORBIDDEN:
                # No proof: a role on a group or on a VM alone does for an onboarding.
                seen = await _visible_subscriptions(arm) if seen is None else seen
                if subscription in seen:
                    continue
            raise NoAccess(subscription, error) from None


async def check_any_access(arm: Arm) -> None:
    """Ask which subscriptions there are to see. Raises NoAccess if there are none, or as `check_access`."""
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
    """Whether there was no token to ask ARM with."""
    return error.evidence.code in NO_TOKEN


def refuses_caller(error: ArmError, clock: Clock, shared: SharedErrors) -> bool:
    """Whether the refusal is about who asks: a login or a right is missing. It says nothing about the VM."""
    return is_the_callers(error.evidence, classify(error.evidence, parse_errors({}, shared), clock()))


class OperatorRequests:
    """One per command."""

    def __init__(self, ports: Ports, rules: Rules, reconciler: Reconciler) -> None:
        self._ports = ports
        self._reconciler = reconciler
        self._extensions = frozenset(rules.catalogue)

    async def check_access(self, vms: Iterable[VmId]) -> None:
        """Raises NoAccess where ARM does not serve the person for one of the VMs' subscriptions."""
        await check_access(self._ports.arm, (vm.subscription for vm in vms))

    async def handle(self, vm: VmId, request: OperatorRequest) -> Mapping[str, Row]:
        """Do what a person asks for; the VM's rows by extension. Raises StorageError, and ArmError for a VM that
        cannot be read and has no row, or that the person may not read or write."""
        with suppress(LostRace):  # whoever won has the VM in hand
            await self._reconciler.reconcile(await self._begin(vm, request))
        return await self.rows(vm)

    async def follow(self, vm: VmId) -> Mapping[str, Row]:
        """The VM's rows; one that is not final yet costs a look at the VM. Raises StorageError, and ArmError if ARM
        refuses the person meanwhile: the rows stay as they are, and the function app goes on."""
        rows = await self.rows(vm)
        if all(row.outcome.final for row in rows.values()):
            return rows
        with suppress(LostRace):
            await self._reconciler.reconcile(await self._begin(vm, None))
        return await self.rows(vm)

    async def preview(self, vm: VmId, request: OperatorRequest) -> tuple[Preview, ...]:
        """What `handle` would do. Nothing is written, and ARM is asked for nothing but to be read. Raises as `handle`."""
        targets = await self._reconciler.preview(await self._begin(vm, request))
        return tuple(Preview(target.context, decision) for target, decision in targets)

    async def select(self, selection: Selection, policy: str = "") -> tuple[VmId, ...]:
        """The VMs of the rows that are selected, each once; with `policy`, of those that it decided. Raises
        StorageError."""
        found: dict[str, VmId] = {}
        async for row in self._ports.ledger.current(selection):
            if policy in ("", row.policy) and isinstance(vm := parse_id(row.resource_id), VmId):
                found[vm.key] = vm
        return tuple(found.values())

    async def rows(self, vm: VmId) -> Mapping[str, Row]:
        known = await self._ports.ledger.read(vm)
        return {extension: stored.row for extension, stored in known.targets.items()}

    async def _begin(self, vm: VmId, request: OperatorRequest | None) -> Reconciliation:
        now = self._ports.clock()
        reason = "request" if request else "request.look"
        trigger = EventRef(f"{reason}.{now:%Y%m%dt%H%M%S.%fz}", now)
        cleared = self._extensions if request else frozenset()
        return Reconciliation(
            vm, trigger, await self._ports.ledger.read(vm), now, cleared=cleared, request=request, personal=True
        )
