"""The removal of an extension: wait for the guest agent, let the handler uninstall, end the operation.

If the agent does not report, the operation fails and the extension stays in state Deleting: only a removal may be
repeated then. A handler whose uninstall fails does not matter: the guest agent logs it and removes the handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.arm.compute import failures
from simulator.arm.compute.durations import AGENT_SILENT
from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.operations import Operation
from simulator.arm.events import Caller
from simulator.arm.platform import Platform, deleted

_STEP = 15.0  # simulated seconds between two checks of the agent


class Removals:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def begin(self, machine: Machine, extension: Extension, resource: str, caller: Caller) -> Operation:
        """Begin to remove the extension, whose id is `resource`."""
        extension.provisioning_state = "Deleting"
        extension.attempt += 1
        operation = self._platform.start(machine, deleted(resource, "virtualMachines/extensions", caller))
        self._await_agent(machine, extension, operation, waited=0.0)
        return operation

    def under_way(self, resource: str) -> Operation | None:
        """The removal of that extension that still runs."""
        running = self._platform.operations.under_way(resource)
        return next((each for each in running if each.change.verb == "Delete"), None)

    def _await_agent(self, machine: Machine, extension: Extension, operation: Operation, waited: float) -> None:
        platform = self._platform
        if not operation.running:
            return
        if machine.agent_ready(platform.clock.seconds()):
            delay = platform.durations.draw("extension-delete", operation.change.resource_id, extension.attempt)
            platform.clock.call_later(delay, lambda: self._end(machine, extension, operation))
        elif waited >= AGENT_SILENT:
            platform.end(operation, failures.agent_silent(machine.name))
        else:
            again = waited + _STEP
            platform.clock.call_later(_STEP, lambda: self._await_agent(machine, extension, operation, again))

    def _end(self, machine: Machine, extension: Extension, operation: Operation) -> None:
        if not operation.running:
            return
        error: Mapping[str, Any] | None = operation.change.caller.failure
        if error is None:
            machine.extensions.pop(extension.name.lower(), None)
        else:
            extension.provisioning_state = "Failed"
        self._platform.end(operation, error)
