"""An accepted extension write: wait for the guest agent, let the handler run, report, end the operation.

It fails after 25 minutes if the agent does not report, after 90 if the extension does not. The handler's status is in
the instance view some seconds before the operation ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from typing import Any

from simulator.arm.compute import failures
from simulator.arm.compute.durations import AGENT_SILENT, EXTENSION_SILENT, INSTALL_LIMIT
from simulator.arm.compute.handler import Job, natural_run, report
from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.operations import Operation
from simulator.arm.compute.spec import Ending, HandlerRun
from simulator.arm.platform import Platform


class _Flight:
    """One write under way. After a later write of the same extension it does nothing more."""

    def __init__(self, machine: Machine, extension: Extension, operation: Operation) -> None:
        self.machine = machine
        self.extension = extension
        self.operation = operation
        self.attempt = extension.attempt

    @property
    def overtaken(self) -> bool:
        return self.extension.attempt != self.attempt or self.machine.deleting


class Provisioning:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def begin(self, machine: Machine, extension: Extension, operation: Operation) -> None:
        """Begin an accepted write. If its operation is preempted, the handler's run continues and may still succeed."""
        self._await_agent(_Flight(machine, extension, operation), waited=0.0)

    def settle(self, machine: Machine, extension: Extension, run: HandlerRun) -> None:
        """Give the extension the state after a run of long ago."""
        job = self._job(machine, extension)
        if job is None:
            raise LookupError(f"{extension.handler} is not in handlers.yaml with that version: add a release there")
        result = report(job, run, extension.name, self._platform.clock.now())
        extension.handler_version, extension.ran_at = job.release.version, self._platform.clock.seconds()
        extension.statuses, extension.handler_status = [dict(result.status)], dict(result.handler_status)
        extension.provisioning_state = "Failed" if result.error else "Succeeded"
        extension.serves = not result.error

    def _job(self, machine: Machine, extension: Extension) -> Job | None:
        """The input of a run; None if the artifact repository has no such version."""
        properties, artifacts = extension.properties, self._platform.artifacts
        handler = artifacts.find(extension.publisher, extension.type)
        if handler is None:
            return None
        auto_upgrade = bool(properties.get("autoUpgradeMinorVersion", False))
        release = artifacts.resolve(handler, properties["typeHandlerVersion"], auto_upgrade=auto_upgrade)
        if release is None:
            return None
        settings, workspaces = properties.get("settings") or {}, self._platform.options.workspaces
        return Job(handler, release, machine.guest, settings, extension.protected_settings, workspaces)

    def _await_agent(self, flight: _Flight, waited: float) -> None:
        clock, machine = self._platform.clock, flight.machine
        if flight.overtaken:
            return
        if machine.agent_ready(clock.seconds()):
            self._run(flight)
        elif waited >= AGENT_SILENT:
            self._end(flight, "Failed", failures.agent_silent(machine.name))
        else:
            step = _next_check(machine, clock.seconds(), AGENT_SILENT - waited)
            self._later(flight, step, lambda: self._await_agent(flight, waited + step))

    def _run(self, flight: _Flight) -> None:
        extension, machine = flight.extension, flight.machine
        job = self._job(machine, extension)
        if job is None:
            version = extension.properties["typeHandlerVersion"]
            error = failures.version_not_found(version, extension.publisher, extension.type)
            self._later(flight, self._draw(flight, "refusal"), lambda: self._end(flight, "Failed", error))
            return
        upgrade = extension.handler_version != job.release.version
        extension.handler_version = job.release.version
        extension.statuses, extension.handler_status = [_transitioning()], None
        run = _scripted(machine, extension) or natural_run(job)
        extension.runs += 1
        if run.ending is Ending.SILENT or extension.handler.lower() in machine.leftovers:
            error = failures.extension_silent(extension.name)
            self._later(flight, EXTENSION_SILENT, lambda: self._end(flight, "Failed", error))
            return
        self._later(flight, self._run_time(flight, run), lambda: self._report(flight, job, run, upgrade=upgrade))

    def _report(self, flight: _Flight, job: Job, run: HandlerRun, *, upgrade: bool) -> None:
        if flight.overtaken:
            return
        if not flight.machine.agent_ready(self._platform.clock.seconds()):
            self._await_agent(
                flight, waited=0.0
            )  # stopped or restarted meanwhile: it runs again when the agent reports
            return
        result = report(job, run, flight.extension.name, self._platform.clock.now())
        flight.extension.ran_at = self._platform.clock.seconds()
        flight.extension.statuses = [dict(result.status)]
        flight.extension.handler_status = dict(result.handler_status)
        if not result.error or upgrade:  # an upgrade takes the old version away first
            flight.extension.serves = not result.error
        self._platform.note(flight.operation.change)
        state = "Failed" if result.error else "Succeeded"
        self._later(flight, self._draw(flight, "report-lag"), lambda: self._end(flight, state, result.error))

    def _end(self, flight: _Flight, state: str, error: Mapping[str, Any] | None) -> None:
        if flight.overtaken:
            return
        error = error or flight.operation.change.caller.failure
        flight.extension.provisioning_state = "Failed" if error else state
        self._platform.end(flight.operation, error)

    def _run_time(self, flight: _Flight, run: HandlerRun) -> float:
        if run.seconds is not None:
            return run.seconds
        if run.ending is Ending.TIMEOUT:
            return INSTALL_LIMIT
        if run.exit_code == 0:
            return self._draw(flight, "install")
        return self._draw(flight, "refusal" if run.operation == "Install" else "enable-failure")

    def _draw(self, flight: _Flight, what: str) -> float:
        extension = flight.extension
        about = (flight.machine.key, extension.name, flight.attempt)
        return self._platform.durations.draw(what, *about, handler=extension.handler)

    def _later(self, flight: _Flight, seconds: float, step: Callable[[], None]) -> None:
        self._platform.clock.call_later(seconds, lambda: None if flight.overtaken else step())


def _next_check(machine: Machine, now: float, left: float) -> float:
    """The time until the agent has to be checked again."""
    due = left if machine.agent_at is None else machine.agent_at - now
    return min(left, max(1.0, due if machine.agent_at is not None else 15.0))


def _scripted(machine: Machine, extension: Extension) -> HandlerRun | None:
    if not machine.runs or not fnmatch(extension.handler, machine.runs_of):
        return None
    return machine.runs[min(extension.runs, len(machine.runs) - 1)]


def _transitioning() -> dict[str, str]:
    return {
        "code": "ProvisioningState/transitioning",
        "level": "Info",
        "displayStatus": "Transitioning",
        "message": "Plugin enabled",
    }
