"""The options of the simulator; the defaults behave like Azure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from simulator.arm.compute.durations import Range

OMS_HANDLER = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"
AMA_HANDLER = "Microsoft.Azure.Monitor.AzureMonitorLinuxAgent"


class ConcurrentWrites(StrEnum):
    """What happens to a second write to a VM while the first is under way."""

    REFUSE = "refuse"
    PREEMPT = "preempt"
    MIXED = "mixed"


class ThrottleWait(StrEnum):
    """Where a 429 of compute has the time to wait; Azure does all of these."""

    RETRY_AFTER = "retry-after"
    END_TIME = "end-time"
    UNSAID = "unsaid"
    ZERO = "zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the simulated ARM behaves."""

    subscriptions: tuple[str, ...] = ("00000000-0000-4000-8000-000000000001",)
    tenant_id: str = "72f988bf-0000-4000-8000-00000000a3c1"
    principal_id: str = "9c2f7c1e-0000-4000-8000-0000000000aa"
    """The principal of the system-assigned identity."""
    client_id: str = "9c2f7c1e-0000-4000-8000-0000000000ab"
    """Its client id."""
    identities: Mapping[str, str] = field(default_factory=dict)
    """Principal ids of user-assigned identities, by client id."""
    audiences: tuple[str, ...] = ("https://management.azure.com", "https://management.core.windows.net")
    logs_audience: str = "https://api.loganalytics.io"
    limits: bool = True
    """Whether token buckets and quotas apply."""
    throttle_wait: ThrottleWait = ThrottleWait.RETRY_AFTER
    concurrent_writes: ConcurrentWrites = ConcurrentWrites.REFUSE
    page_size: int = 50
    index_lag: float = 0.0
    """How many simulated seconds Resource Graph may be behind."""
    management_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The management groups of each subscription, the nearest first."""
    token_lifetime: float = 86_400.0
    """In real seconds, because the credential's own clock decides about renewal."""
    operation_lifetime: float = 86_400.0
    """In simulated seconds."""
    association_events: bool = False
    """Whether writes of associations raise events; no source shows such an event."""
    notices_late_identity: bool = False
    """Whether a running agent uses an identity that its machine got later; users had to restart it."""
    heartbeat_lag: float = 120.0
    """How many simulated seconds pass until a heartbeat can be queried."""
    generic_handlers: tuple[str, ...] = ()
    """Patterns of `publisher.type`: such handlers exist in every version and succeed."""
    newest: Mapping[str, str] = field(default_factory=lambda: {OMS_HANDLER: "1.3"})
    """The newest published version of a handler, so that a run can take place in 2017."""
    durations: Mapping[str, Range] = field(default_factory=dict)
    """Ranges that replace the measured ones (`durations.read_ranges`)."""
    workspaces: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The key of each workspace id; empty: every well-formed key is accepted."""
