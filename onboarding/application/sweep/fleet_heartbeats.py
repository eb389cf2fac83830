"""Which VMs wait for a heartbeat that has come: of the agent that takes the place of the one to be removed.

A workspace is asked once in a run, for all VMs, and only if one of them waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onboarding.application.readers.heartbeat_reader import FRESH, HeardAgents, HeartbeatReader
from onboarding.application.rules import Rules
from onboarding.application.sweep.sweep_queue import SweepQueue
from onboarding.domain.errors import HeartbeatError
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.policy.step_needs import step_needs
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.resource_id import VmId


class FleetHeartbeats:
    """The workspaces of all removal policies that ask for a heartbeat, each read at most once in a run."""

    def __init__(self, reader: HeartbeatReader, rules: Rules, policies: PolicySet, sweep_queue: SweepQueue) -> None:
        self._reader = reader
        self._sweep_queue = sweep_queue
        self._catalogue = rules.catalogue
        self._named = {policy.name: policy for policy in policies.policies}
        needs = {name: step_needs(policy, rules.app_settings) for name, policy in self._named.items() if policy.removes}
        self._workspaces = {name: need.heartbeat for name, need in needs.items() if need.heartbeat}
        self._read: dict[str, Mapping[str, HeardAgents]] = {}

    async def heard(self, vm: VmId, row: RowSummary) -> bool:
        """Whether the row waits for a heartbeat that the workspace has. The reconciliation proves that it counts: here
        only its age is known to fit."""
        workspace = self._workspaces.get(row.policy, "")
        if row.waiting_for != WaitingFor.HEARTBEAT or not workspace or not self._reader.available:
            return False
        heard = (await self._newest(workspace)).get(vm.key, {})
        earliest = self._sweep_queue.started - FRESH
        return any(heard[agent] > earliest for agent in self._agents(row.policy) if agent in heard)

    def _agents(self, removal: str) -> Iterable[str]:
        """The categories of the agents, one of which the VM has, that the removal comes after."""
        rule = self._named[removal].only_after
        other = self._named.get(rule.policy) if rule is not None else None
        entries = [self._catalogue.get(name) for name in other.extensions] if other is not None else []
        return [entry.heartbeat for entry in entries if entry is not None and entry.heartbeat]

    async def _newest(self, workspace: str) -> Mapping[str, HeardAgents]:
        if workspace not in self._read:
            try:
                self._read[workspace] = await self._reader.of_workspace(workspace)
            except HeartbeatError as error:
                self._read[workspace] = {}
                self._sweep_queue.report.could_not_read(f"the heartbeats in workspace {workspace} ({error})")
        return self._read[workspace]
