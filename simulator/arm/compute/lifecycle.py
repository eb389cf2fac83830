"""The lifecycle of a virtual machine: created, updated, started, stopped, restarted, deleted; each as a long-running
operation that takes simulated time and raises its event at the end.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from simulator.arm.compute import failures
from simulator.arm.compute.machines import Machine
from simulator.arm.compute.operations import Operation
from simulator.arm.compute.spec import GOALS, Agent, Power, VmSpec
from simulator.arm.events import Caller
from simulator.arm.http import errors
from simulator.arm.identity.applications import breakages
from simulator.arm.identity.machine_identity import NOTHING, MachineIdentity, changed
from simulator.arm.identity.refusals import etag_differs
from simulator.arm.platform import Platform, acted, deleted, written

VMS = "virtualMachines"


class Lifecycle:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def create(self, spec: VmSpec, body: dict[str, Any], caller: Caller) -> tuple[Machine, Operation]:
        """Begin to create the VM of `spec` with that body; `spec` also has what a body cannot say."""
        machine = self.place(spec, body)
        operation = self._platform.start(machine, written(machine.id, VMS, caller, update=False), advise_wait=True)

        def ended() -> None:
            if not machine.deleting:
                failed = spec.creation_error is not None
                self._settle(machine, "Failed" if failed else "Succeeded")
                machine.power = Power.STOPPED if failed else spec.power
                self._boot(machine)
                self._platform.end(operation, spec.creation_error)

        self._later("vm-create", machine, ended)
        return machine, operation

    def place(self, spec: VmSpec, body: dict[str, Any]) -> Machine:
        """Add the machine in state Creating, without operation or event."""
        platform = self._platform
        kept = {key: copy.deepcopy(value) for key, value in body.items() if key != "identity"}
        machine = Machine(
            spec.subscription,
            spec.group,
            spec.name,
            kept,
            spec.guest,
            platform.clock.now(),
            str(uuid.uuid4()),
            identity=self._wanted_identity(NOTHING, body, spec.id),
            applications=spec.applications,
            network_blocked=spec.network_blocked,
            old_endpoints_only=spec.old_endpoints_only,
            generalized=spec.generalized,
            runs=spec.runs,
            runs_of=spec.runs_of,
            uninstall=spec.uninstall,
            uninstall_of=spec.uninstall_of,
        )
        machine.identity_since = dict.fromkeys(machine.identity.held(), platform.clock.seconds())
        platform.machines.add(machine)
        return machine

    def finish(self, machine: Machine, power: Power) -> None:
        """Turn a placed machine into one that has existed for long: provisioned and, if running, with a ready agent."""
        self._settle(machine, "Succeeded")
        machine.power = power
        self._boot(machine)
        if machine.agent_at is not None:
            machine.agent_at = self._platform.clock.seconds()
        if machine.agent_at is not None or machine.guest.agent is Agent.STALE:
            machine.booting, machine.agent_seen = False, machine.created

    def update(self, machine: Machine, change: dict[str, Any], caller: Caller, if_match: str = "") -> Operation:
        """Change identity, tags, plan or properties of an existing VM; `if_match` is the etag that it must have."""
        wanted = self._wanted_identity(machine.identity, change, machine.id)
        self._refuse_if_deleting(machine, "Update VM")
        self._refuse_if_busy(machine)
        if if_match not in ("", "*", machine.etag_text):
            raise etag_differs(if_match, machine.etag_text)
        _refuse_other_image(machine, change)
        before, body = machine.identity, copy.deepcopy(machine.body)
        duration = _duration(change, changes=wanted != before)
        machine.etag += 1
        machine.identity, machine.unsettled = wanted, frozenset(wanted.held() - before.held())
        _merge(machine.body, {key: value for key, value in change.items() if key != "identity"})
        machine.provisioning_state = "Updating"
        operation = self._platform.start(machine, written(machine.id, VMS, caller, update=True), advise_wait=True)

        def ended() -> None:
            if not machine.deleting:
                if caller.failure is not None:
                    machine.identity, machine.body = before, body
                self._settle_identity(machine, before, caller)
                self._settle(machine, "Failed" if caller.failure else "Succeeded")
                self._platform.end(operation, caller.failure)

        self._later(duration, machine, ended)
        return operation

    def power(self, machine: Machine, action: str, caller: Caller) -> Operation:
        """Begin start, powerOff, deallocate or restart."""
        self._refuse_if_deleting(machine, action)
        way, goal = {
            "start": (Power.STARTING, Power.RUNNING),
            "restart": (Power.RUNNING, Power.RUNNING),
            "powerOff": (Power.STOPPING, Power.STOPPED),
            "deallocate": (Power.DEALLOCATING, Power.DEALLOCATED),
        }[action]
        if machine.generalized and goal is Power.RUNNING:
            raise errors.vm_generalized(action, machine.name)
        self._refuse_if_moving(machine)
        already = machine.power is goal and action != "restart"
        if not already:
            machine.power = way
            self._forget_agent(machine, goal)
        operation = self._platform.start(machine, acted(machine.id, action, caller), advise_wait=True)

        def ended() -> None:
            if not machine.deleting:
                self._arrive(machine, goal, already)
                self._platform.end(operation)

        self._later("vm-start" if goal is Power.RUNNING else "vm-stop", machine, ended)
        return operation

    def delete(self, machine: Machine, caller: Caller) -> Operation:
        """Delete the VM; all other operations on it are preempted."""
        platform = self._platform
        under_way = platform.operations.under_way(machine.id)
        if machine.deleting:
            return under_way[0]
        for running in under_way:
            platform.end(running, failures.preempted())
        machine.provisioning_state = "Deleting"
        operation = platform.start(machine, deleted(machine.id, VMS, caller), advise_wait=True)

        def ended() -> None:
            platform.machines.remove(machine)
            platform.end(operation)

        self._later("vm-delete", machine, ended)
        return operation

    def _wanted_identity(self, current: MachineIdentity, body: Mapping[str, Any], vm: str) -> MachineIdentity:
        """The identity after a write with that body. Raises ARM's refusal."""
        raw = body.get("identity")
        return changed(current, raw, self._platform.identities, vm) if isinstance(raw, Mapping) else current

    def _settle_identity(self, machine: Machine, before: MachineIdentity, caller: Caller) -> None:
        """The end of a write: what it added serves from now on."""
        machine.unsettled = frozenset()
        now, platform = self._platform.clock.seconds(), self._platform
        since = machine.identity_since
        machine.identity_since = {key: since.get(key, now) for key in machine.identity.held()}
        platform.breakages.extend(
            breakages(machine.key, machine.applications, before, machine.identity, caller.principal)
        )

    def _arrive(self, machine: Machine, goal: Power, already: bool) -> None:
        machine.power = goal
        if goal is Power.RUNNING and not already:
            self._boot(machine)

    def _boot(self, machine: Machine) -> None:
        """Start the wait for the agent's first report, if the machine runs and its agent reports."""
        platform, guest = self._platform, machine.guest
        machine.agent_at = None
        if machine.power is not Power.RUNNING or guest.agent in (Agent.SILENT, Agent.ABSENT):
            return
        machine.boots += 1
        machine.booted_at = platform.clock.seconds()
        delay = guest.agent_delay
        if delay is None:
            delay = platform.durations.draw("agent", machine.key, machine.boots)
        due = machine.agent_at = platform.clock.seconds() + delay

        def reported() -> None:
            if machine.agent_at == due:
                machine.booting, machine.agent_seen = False, platform.clock.now()
                machine.show_system()

        platform.clock.call_later(delay, reported)

    @staticmethod
    def _forget_agent(machine: Machine, goal: Power) -> None:
        machine.agent_at = None
        if goal is Power.DEALLOCATED and machine.guest.agent is not Agent.STALE:
            machine.agent_seen = None

    def _settle(self, machine: Machine, state: str) -> None:
        machine.provisioning_state = state
        machine.provisioned_at = self._platform.clock.now()

    def _refuse_if_deleting(self, machine: Machine, operation: str) -> None:
        if machine.deleting:
            raise errors.vm_marked_for_deletion(operation, machine.name)

    def _refuse_if_busy(self, machine: Machine) -> None:
        self._refuse_if_moving(machine)
        if self._platform.operations.under_way(machine.id):
            raise errors.concurrent_request()

    @staticmethod
    def _refuse_if_moving(machine: Machine) -> None:
        if goal := GOALS.get(machine.power):
            raise errors.changing_power(machine.name, goal)

    def _later(self, what: str, machine: Machine, ended: Callable[[], None]) -> None:
        delay = self._platform.durations.draw(what, machine.key, machine.boots)
        self._platform.clock.call_later(delay, ended)


def _duration(change: Mapping[str, Any], *, changes: bool) -> str:
    """The name of the duration of an update: one of the identity alone is short."""
    if change.keys() - {"identity", "location"}:
        return "vm-update"
    return "vm-identity" if changes else "vm-unchanged"


def _storage(before: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The storage profile after a write. What was made at creation stays: `az vm update` sends no image."""
    given = {name: value for name, value in (change.get("storageProfile") or {}).items() if value is not None}
    return {**before.get("storageProfile", {}), **copy.deepcopy(given)}


def _refuse_other_image(machine: Machine, change: Mapping[str, Any]) -> None:
    stored, given = (
        (part.get("properties", {}).get("storageProfile") or {}).get("imageReference") or {}
        for part in (machine.body, change)
    )
    names = given.keys() & {"id", "publisher", "offer", "sku", "communityGalleryImageId", "sharedGalleryImageId"}
    if any(str(given[name]).lower() != str(stored.get(name, "")).lower() for name in names):
        raise errors.property_change("imageReference")


def _merge(body: dict[str, Any], change: dict[str, Any]) -> None:
    for name, value in change.items():
        if name == "properties":
            before = body["properties"]
            body["properties"] = before | copy.deepcopy(value) | {"storageProfile": _storage(before, value)}
        else:
            body[name] = copy.deepcopy(value)
