"""What a run of the sweep keeps of each machine that has rows, while it compares a batch of subscriptions."""

from __future__ import annotations

from dataclasses import dataclass

from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.steps.association_step import Associations
from onboarding.domain.resource_id import VmId


@dataclass(slots=True)
class MachineSummaries:
    """The rows of one VM. There may be a hundred thousand of these, so they share what they can."""

    vm: VmId
    summaries: tuple[RowSummary, ...] = ()
    listed: bool = False
    """Whether the inventory has the VM."""
    associations: Associations | None = None
    """Those that the inventory has of the VM; None: it has none, or was not asked."""


type Summaries = dict[str, MachineSummaries]  # of one subscription, by `place_of`


def place_of(vm: VmId) -> str:
    """A VM's place in its subscription, the same for every spelling; shorter than its id."""
    return f"{vm.resource_group}|{vm.name}".lower()
