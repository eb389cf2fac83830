"""What all parts of the simulated platform share: time, chance, state, operations and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import replace
from dataclasses import dataclass, field
from typing import Any

from simulator.arm.compute.artifacts import Artifacts
from simulator.arm.compute.durations import Durations
from simulator.arm.compute.machines import Machine, Machines
from simulator.arm.compute.operations import Operation, Operations
from simulator.arm.events import Caller, Change, Events
from simulator.arm.identity.applications import Breakage
from simulator.arm.identity.user_identities import UserIdentities
from simulator.arm.options import Options
from simulator.clock import Clock


@dataclass(frozen=True, slots=True)
class Platform:
    options: Options
    clock: Clock
    durations: Durations
    machines: Machines
    operations: Operations
    events: Events
    artifacts: Artifacts
    identities: UserIdentities
    breakages: list[Breakage] = field(default_factory=list)
    """What changes of identity did to applications."""
    watchers: list[Callable[[Change], None]] = field(default_factory=list)
    """Called at each change of a machine: at its beginning, when it takes effect, and at its end."""

    def note(self, change: Change) -> None:
        """Tell the watchers that something about the resource of that change is different now."""
        for watcher in self.watchers:
            watcher(change)

    def start(self, machine: Machine, change: Change, *, advise_wait: bool = False) -> Operation:
        """Start an operation for that change; polls of VM operations have a Retry-After, those of extensions not."""
        wait = self.durations.draw("retry-after", change.resource_id) if advise_wait else None
        self.note(change)
        return self.operations.start(change, machine.location, retry_after=wait)

    def end(self, operation: Operation, error: Mapping[str, Any] | None = None, *, canceled: bool = False) -> None:
        """End the operation, unless it has ended already, and raise its event."""
        if operation.running:
            self.operations.finish(operation, error, canceled=canceled)
            self.note(operation.change)
            self.events.raise_for(replace(operation.change, status=operation.status))


def written(resource: str, kind: str, caller: Caller, *, update: bool) -> Change:
    return Change(resource, f"Microsoft.Compute/{kind}/write", caller, update=update)


def deleted(resource: str, kind: str, caller: Caller) -> Change:
    return Change(resource, f"Microsoft.Compute/{kind}/delete", caller, verb="Delete", update=True)


def acted(resource: str, action: str, caller: Caller) -> Change:
    operation = f"Microsoft.Compute/virtualMachines/{action}/action"
    return Change(resource, operation, caller, verb="Action", action=action)
