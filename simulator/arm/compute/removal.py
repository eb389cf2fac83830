"""The removal of an extension: wait for the guest agent, let the handler disable and uninstall itself, end the
operation.

If the agent does not report, or does not find the handler, the operation fails and the extension stays in state
Deleting: only a removal may be repeated then. A handler whose `disable` fails stays, in state Failed. One whose
`uninstall` fails is removed all the same: the guest agent logs it and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from simulator.arm.compute import failures
from simulator.arm.compute.durations import AGENT_SILENT, EXTENSION_SILENT
from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.operations import Operation
from simulator.arm.compute.spec import Uninstall
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
            self._run(machine, extension, operation)
        elif waited >= AGENT_SILENT:
            platform.end(operation, failures.agent_silent(machine.name))
        else:
            again = waited + _STEP
            platform.clock.call_later(_STEP, lambda: self._await_agent(machine, extension, operation, again))

    def _run(self, machine: Machine, extension: Extension, operation: Operation) -> None:
        platform = self._platform
        if _way(machine, extension) is Uninstall.LOST:
            extension.statuses = [_lost(extension)]
            silent = failures.extension_silent(extension.name)
            platform.clock.call_later(EXTENSION_SILENT, lambda: platform.end(operation, silent))
            return
        delay = platform.durations.draw("extension-delete", operation.change.resource_id, extension.attempt)
        platform.clock.call_later(delay, lambda: self._end(machine, extension, operation))

    def _end(self, machine: Machine, extension: Extension, operation: Operation) -> None:
        if not operation.running:
            return
        if not machine.agent_ready(self._platform.clock.seconds()):  # stopped or restarted meanwhile
            self._await_agent(machine, extension, operation, waited=0.0)
            return
        way = _way(machine, extension)
        error: Mapping[str, Any] | None = operation.change.caller.failure
        if error is None and way is Uninstall.REFUSED:
            error = failures.extension_failed(extension.name, _cannot_disable(extension))
        if error is None:
            machine.extensions.pop(extension.name.lower(), None)
            if way is Uninstall.INCOMPLETE:
                machine.leftovers[extension.handler.lower()] = _leftover(extension)
        else:
            extension.provisioning_state = "Failed"
        self._platform.end(operation, error)


def _way(machine: Machine, extension: Extension) -> Uninstall:
    return machine.uninstall if fnmatch(extension.handler.lower(), machine.uninstall_of.lower()) else Uninstall.CLEAN


def _leftover(extension: Extension) -> dict[str, Any]:
    """What the guest agent goes on listing."""
    status = {
        "code": "ProvisioningState/transitioning",
        "level": "Info",
        "displayStatus": "Transitioning",
        "message": "Plugin not installed",  # inferred: no source has the words
    }
    return {"type": extension.handler, "typeHandlerVersion": extension.handler_version, "status": status}


def _cannot_disable(extension: Extension) -> str:
    """The words of the OMS handler after its agent was purged by hand, with its own typing error."""
    words = "OMSAgent service control script /opt/microsoft/omsagent/bin/service_control doesnot exist. "
    return f"{words}Disable cannot be called before install. (handler {extension.handler}, exit code: 1)"


def _lost(extension: Extension) -> dict[str, str]:
    return {
        "code": "ProvisioningState/transitioning",
        "level": "Info",
        "displayStatus": "Transitioning",
        "message": f"Failed to find installed version of {extension.handler} to uninstall",
    }
