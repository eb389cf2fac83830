"""Writes of extensions: immediate refusals, and accepted writes until their end.

Three layers can fail independently: the write (4xx), the handler in the VM (instance view) and the operation (the
poll's body), in this order of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.arm.compute import failures
from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.operations import Operation
from simulator.arm.compute.provisioning import Provisioning
from simulator.arm.compute.removal import Removals
from simulator.arm.compute.spec import GOALS, ExtensionSpec, HandlerRun, Power
from simulator.arm.events import Caller
from simulator.arm.http import errors
from simulator.arm.options import ConcurrentWrites
from simulator.arm.platform import Platform, written

EXTENSIONS = "virtualMachines/extensions"
_PUBLIC = (
    "autoUpgradeMinorVersion",
    "enableAutomaticUpgrade",
    "forceUpdateTag",
    "suppressFailures",
    "provisionAfterExtensions",
    "publisher",
    "type",
    "typeHandlerVersion",
    "settings",
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One write of an extension, accepted or refused, and the state of that handler on the VM at that time."""

    vm: str
    """The VM's id in lower case."""
    handler: str
    """publisher.type"""
    principal: str
    """Who sent the write."""
    found: str
    """ARM's provisioning state of the extension; empty if there was no such extension."""
    status: str
    """The code that the handler had reported; empty if it had reported nothing."""
    succeeded: frozenset[str] = frozenset()
    """The handlers whose extensions had succeeded on the VM at that time."""


@dataclass(frozen=True, slots=True)
class Collision:
    """A write of an extension that arrived while others were under way on its VM.

    The simulator's options decide whether it was refused or preempted them.
    """

    vm: str
    """The VM's id in lower case."""
    handler: str
    """publisher.type"""
    principal: str
    """Who sent this write."""
    under_way: tuple[str, ...]
    """The resources of the other writes."""
    principals: frozenset[str]
    """Who sent the other writes."""


class Extensions:
    """Writes of extensions. `attempts` records all of them, so that a test can recognise needless ones; `collisions`
    records those that met another write."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._provisioning = Provisioning(platform)
        self._removals = Removals(platform)
        self.attempts: list[Attempt] = []
        self.collisions: list[Collision] = []

    def put(
        self, machine: Machine, name: str, body: Mapping[str, Any], caller: Caller
    ) -> tuple[Extension, Operation, bool]:
        """Create or replace an extension; the last value is whether it is new. The body has been validated."""
        properties = body["properties"]
        self.attempts.append(_attempt(machine, f"{properties['publisher']}.{properties['type']}", caller))
        self._refuse(machine)
        self._refuse_handler(machine, name, properties)
        self._yield_or_refuse(machine, name, f"{properties['publisher']}.{properties['type']}", caller)
        stored = machine.extensions.get(name.lower())
        extension = stored or _new(machine, name, properties)
        extension.provisioning_state = "Updating" if stored else "Creating"
        _store(extension, body)
        machine.extensions[name.lower()] = extension
        return extension, self._begin(machine, extension, caller, update=stored is not None), stored is None

    def patch(
        self, machine: Machine, name: str, body: Mapping[str, Any], caller: Caller
    ) -> tuple[Extension, Operation]:
        extension = self.existing(machine, name)
        merged = {**extension.properties, **body.get("properties", {})}
        whole = {"tags": body.get("tags", extension.tags), "properties": merged}
        extension, operation, _ = self.put(machine, name, whole, caller)
        return extension, operation

    def delete(self, machine: Machine, name: str, caller: Caller) -> Operation | None:
        """Begin to remove an extension, or join the removal under way; returns None if it does not exist (204)."""
        extension = machine.extensions.get(name.lower())
        if extension is None:
            return None
        resource = extension_id(machine, extension)
        if (running := self._removals.under_way(resource)) is not None:
            return running
        self._refuse(machine)
        self._yield_or_refuse(machine, name, extension.handler, caller)
        return self._removals.begin(machine, extension, resource, caller)

    def installed(self, machine: Machine, spec: ExtensionSpec) -> Extension:
        """Add an extension that has been on the machine for long."""
        body = spec.body(machine.location)
        extension = _new(machine, spec.name, body["properties"])
        _store(extension, body)
        self._provisioning.settle(machine, extension, spec.failed_with or HandlerRun())
        machine.extensions[spec.name.lower()] = extension
        return extension

    @staticmethod
    def existing(machine: Machine, name: str) -> Extension:
        extension = machine.extensions.get(name.lower())
        if extension is None:
            path = f"Microsoft.Compute/virtualMachines/{machine.name}/extensions/{name}"
            raise errors.resource_not_found(path, machine.group)
        return extension

    def _begin(self, machine: Machine, extension: Extension, caller: Caller, *, update: bool) -> Operation:
        change = written(extension_id(machine, extension), EXTENSIONS, caller, update=update)
        operation = self._platform.start(machine, change)
        self._provisioning.begin(machine, extension, operation)
        return operation

    @staticmethod
    def _refuse(machine: Machine) -> None:
        if machine.deleting:
            raise errors.vm_marked_for_deletion("Update VM", machine.name)
        if not machine.extensions_allowed:
            raise errors.extensions_disallowed()
        if machine.generalized:
            raise errors.vm_generalized("Update VM", machine.name)
        if machine.provisioning_state != "Creating" and (goal := GOALS.get(machine.power)):
            raise errors.changing_power(machine.name, goal)
        if machine.power is not Power.RUNNING:
            raise errors.vm_not_running()

    def _refuse_handler(self, machine: Machine, name: str, properties: Mapping[str, Any]) -> None:
        publisher, type_ = properties["publisher"], properties["type"]
        handler = f"{publisher}.{type_}"
        named = machine.extensions.get(name.lower())
        if named is not None and named.deleting:
            raise errors.extension_marked_for_deletion(name)
        if named is not None:
            _refuse_change(named, properties)
        other = machine.find_handler(handler, name)
        if other is not None and machine.os_type == "Linux":
            raise errors.one_handler_per_vm(other.name, handler)
        for holder in (named, other):
            if holder is not None and _conflicts(holder, properties):
                version, auto = _version_settings(holder.properties)
                raise errors.handler_version_conflict(name, handler, version, auto)
        if self._platform.artifacts.find(publisher, type_) is None:
            raise errors.artifact_not_found(publisher, type_, machine.location)

    def _yield_or_refuse(self, machine: Machine, name: str, handler: str, caller: Caller) -> None:
        """Refuse a second write, or preempt the operation of the first."""
        running = self._platform.operations.under_way(machine.id)
        if not running:
            return
        changes = [operation.change for operation in running]
        under_way = tuple(change.resource_id.removeprefix(f"{machine.id}/") for change in changes)
        principals = frozenset(change.caller.principal for change in changes)
        self.collisions.append(Collision(machine.key, handler, caller.principal, under_way, principals))
        mode = self._platform.options.concurrent_writes
        dice = self._platform.durations.chance("preempt", machine.key, name, len(running))
        if mode is ConcurrentWrites.REFUSE or (mode is ConcurrentWrites.MIXED and dice.random() < 0.5):
            raise errors.concurrent_request()
        for operation in running:
            self._platform.end(operation, failures.preempted(), canceled=dice.random() < 0.3)


def extension_id(machine: Machine, extension: Extension) -> str:
    return f"{machine.id}/extensions/{extension.name}"


def _attempt(machine: Machine, handler: str, caller: Caller) -> Attempt:
    there = machine.extensions.values()
    succeeded = frozenset(each.handler for each in there if each.provisioning_state == "Succeeded")
    found = machine.find_handler(handler, other_than="")
    if found is None:
        return Attempt(machine.key, handler, caller.principal, "", "", succeeded)
    status = found.statuses[0]["code"] if found.statuses else ""
    return Attempt(machine.key, handler, caller.principal, found.provisioning_state, status, succeeded)


def _new(machine: Machine, name: str, properties: Mapping[str, Any]) -> Extension:
    return Extension(name, machine.location, properties["publisher"], properties["type"], {})


def _store(extension: Extension, body: Mapping[str, Any]) -> None:
    properties = body["properties"]
    extension.properties = {k: properties[k] for k in _PUBLIC if properties.get(k) is not None}
    if properties.get("protectedSettings") is not None:
        extension.protected_settings = dict(properties["protectedSettings"])
    extension.tags = dict(body.get("tags") or {})
    extension.attempt += 1


def _refuse_change(named: Extension, properties: Mapping[str, Any]) -> None:
    for member, value in (("publisher", named.publisher), ("type", named.type)):
        if properties[member].lower() != value.lower():
            raise errors.property_change(member)


def _conflicts(holder: Extension, properties: Mapping[str, Any]) -> bool:
    """Whether a write lowers the version, or changes the automatic upgrade, of an installed handler.

    The exact rule is not public; the reported cases have this in common.
    """
    have, want = _version_settings(holder.properties), _version_settings(properties)
    going_back = [int(part) for part in want[0].split(".")] < [int(part) for part in have[0].split(".")]
    return holder.provisioning_state == "Succeeded" and (going_back or have[1] != want[1])


def _version_settings(properties: Mapping[str, Any]) -> tuple[str, bool]:
    return properties["typeHandlerVersion"], bool(properties.get("autoUpgradeMinorVersion", False))
