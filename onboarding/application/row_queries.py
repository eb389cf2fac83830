"""Questions to the table that people ask, over the ledger's port: whoever shows rows asks them here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Protocol

from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Row, Selection
from onboarding.domain.resource_id import VmId, parse_id


class CurrentRows(Protocol):
    """What a question needs of the ledger."""

    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]: ...


async def machines_named(
    ledger: CurrentRows, names: Collection[str], *, subscription: str = "", resource_group: str = ""
) -> Mapping[str, tuple[VmId, ...]]:
    """The VMs of the table with each of these names, in any case; read once for all names. A VM that is gone counts
    only where no other has its name. Raises StorageError."""
    wanted = {name.lower(): name for name in names}
    name = next(iter(wanted)) if len(wanted) == 1 else ""
    selection = Selection(subscription=subscription, resource_group=resource_group, vm_name=name)
    there: dict[str, dict[str, VmId]] = {each: {} for each in wanted}
    gone: dict[str, dict[str, VmId]] = {each: {} for each in wanted}
    async for row in ledger.current(selection):
        vm = parse_id(row.resource_id)
        if isinstance(vm, VmId) and (key := vm.name.lower()) in wanted:
            (gone if row.outcome is Outcome.GONE else there)[key].setdefault(vm.key, vm)
    return {given: tuple((there[key] or gone[key]).values()) for key, given in wanted.items()}
