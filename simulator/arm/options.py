"""What can be switched on the simulator; the defaults are what Azure does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from simulator.arm.compute.durations import Range

OMS_HANDLER = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"
AMA_HANDLER = "Microsoft.Azure.Monitor.AzureMonitorLinuxAgent"


class ConcurrentWrites(StrEnum):
    """What a second write to a VM meets while the first is under way."""

    REFUSE = "refuse"
    PREEMPT = "preempt"
    MIXED = "mixed"


class ThrottleWait(StrEnum):
    """Where a 429 of compute says how long to wait; Azure does all of these."""

    RETRY_AFTER = "retry-after"
    END_TIME = "end-time"
    UNSAID = "unsaid"
    ZERO = "zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`identities` maps a user-assigned identity's client id to its principal id. `newest` pins the newest handler
    version that the artifact repository knows, so that a run can take place in 2017. `workspaces` maps workspace id
    to key; empty means that any well-formed key is accepted. `index_lag` is how many simulated seconds Resource Graph
    may be behind; `management_groups` maps a subscription to the groups that it is in, the nearest first. `durations`
    replace what was measured (`durations.read_ranges`). `operation_lifetime` is in simulated seconds, `token_lifetime`
    in real ones, because the credential's own clock decides about renewal."""

    subscriptions: tuple[str, ...] = ("00000000-0000-4000-8000-000000000001",)
    tenant_id: str = "72f988bf-0000-4000-8000-00000000a3c1"
    principal_id: str = "9c2f7c1e-0000-4000-8000-0000000000aa"
    identities: Mapping[str, str] = field(default_factory=dict)
    audiences: tuple[str, ...] = ("https://management.azure.com", "https://management.core.windows.net")
    limits: bool = True
    throttle_wait: ThrottleWait = ThrottleWait.RETRY_AFTER
    concurrent_writes: ConcurrentWrites = ConcurrentWrites.REFUSE
    page_size: int = 50
    index_lag: float = 0.0
    management_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    token_lifetime: float = 86_400.0
    operation_lifetime: float = 86_400.0
    newest: Mapping[str, str] = field(default_factory=lambda: {OMS_HANDLER: "1.3"})
    durations: Mapping[str, Range] = field(default_factory=dict)
    workspaces: Mapping[str, str] = field(default_factory=dict, repr=False)
