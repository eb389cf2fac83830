"""What a run of the sweep keeps of each machine that has rows, while it compares a batch of subscriptions."""

from __future__ import annotations

from dataclasses import dataclass, field

from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.steps.association_step import Associations


@dataclass(slots=True)
class MachineSummaries:
    """The rows of one VM."""

    resource_id: str
    summaries: list[RowSummary] = field(default_factory=list)
    listed: bool = False
    """Whether the inventory has the VM."""
    associations: Associations | None = None
    """Those that the inventory has of the VM; None: it has none, or was not asked."""


type Summaries = dict[str, MachineSummaries]  # by the VM's key
