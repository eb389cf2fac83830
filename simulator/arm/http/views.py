"""The bodies of answers: virtual machines, their instance view, extensions, lists.

As in Azure, a single GET has more fields than a list, and a subscription's list spells the resource group in capitals.
No field is invented: tests compare every key with the SDK's own models.
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.spec import Agent, Power
from simulator.clock import Clock

_SECRET = {"adminPassword", "customData", "secrets"}


def vm_body(machine: Machine, clock: Clock, *, expanded: bool = False) -> dict[str, Any]:
    """A virtual machine as a single GET shows it, without its etag."""
    identity = machine.identity.body(machine.unsettled)
    body: dict[str, Any] = {
        "name": machine.name,
        "id": machine.id,
        "type": "Microsoft.Compute/virtualMachines",
        **{key: copy.deepcopy(value) for key, value in machine.body.items() if key != "properties"},
        **({} if identity is None else {"identity": identity}),
        "properties": _properties(machine),
    }
    if expanded:
        body["properties"]["instanceView"] = instance_view(machine, clock)
    if machine.extensions:
        body["resources"] = [extension_body(machine, extension) for extension in machine.extensions.values()]
    return body


def vm_list_item(machine: Machine, clock: Clock, *, whole_subscription: bool) -> dict[str, Any]:
    """A virtual machine as lists show it: extensions are ids only; across a subscription the group is upper-cased."""
    body = vm_body(machine, clock)
    if "resources" in body:
        body["resources"] = [{"id": resource["id"]} for resource in body["resources"]]
    if not whole_subscription:
        return body
    stored, capitals = (f"/resourceGroups/{group}/" for group in (machine.group, machine.group.upper()))
    body["id"] = body["id"].replace(stored, capitals)
    for resource in body.get("resources", ()):
        resource["id"] = resource["id"].replace(stored, capitals)
    return body


def extension_body(machine: Machine, extension: Extension, *, expanded: bool = False) -> dict[str, Any]:
    """An extension resource; the protected settings are never in it."""
    properties: dict[str, Any] = {
        **copy.deepcopy(extension.properties),
        "provisioningState": extension.provisioning_state,
    }
    if expanded:
        properties["instanceView"] = extension_view(extension)
    body: dict[str, Any] = {
        "name": extension.name,
        "id": f"{machine.id}/extensions/{extension.name}",
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "location": extension.location,
    }
    return body | ({"tags": dict(extension.tags)} if extension.tags else {}) | {"properties": properties}


def extension_view(extension: Extension) -> dict[str, Any]:
    """The agent's report on one extension; only its name before the first report."""
    if not extension.handler_version:
        return {"name": extension.name}
    return {
        "name": extension.name,
        "type": extension.handler,
        "typeHandlerVersion": extension.handler_version,
        "statuses": copy.deepcopy(extension.statuses),
    }


def instance_view(machine: Machine, clock: Clock) -> dict[str, Any]:
    """The run-time state: power, agent, guest operating system, extensions."""
    ready = machine.agent_ready(clock.seconds())
    guest = machine.guest
    view: dict[str, Any] = {}
    if ready:
        view["computerName"] = machine.name
        if guest.agent is not Agent.NAMELESS:
            view |= {"osName": guest.os_name, "osVersion": guest.os_version}
        view["hyperVGeneration"] = "V2"
    if (agent := _agent(machine, clock, ready=ready)) is not None:
        view["vmAgent"] = agent
    if machine.extensions:
        seen = machine.extensions.values()
        view["extensions"] = [extension_view(e) if ready else {"name": e.name} for e in seen]
    return view | {"statuses": _statuses(machine, ready=ready)}


def _properties(machine: Machine) -> dict[str, Any]:
    properties = copy.deepcopy(machine.body["properties"])
    profile = properties.get("osProfile")
    if profile is not None:
        properties["osProfile"] = {key: value for key, value in profile.items() if key not in _SECRET}
    created = machine.created.isoformat()
    return {
        "vmId": machine.vm_id,
        **properties,
        "provisioningState": machine.provisioning_state,
        "timeCreated": created,
    }


def _agent(machine: Machine, clock: Clock, *, ready: bool) -> dict[str, Any] | None:
    guest = machine.guest
    stale = guest.agent is Agent.STALE and machine.agent_seen is not None and machine.power is not Power.RUNNING
    if ready or stale:
        return _ready_agent(machine, machine.agent_seen or clock.now())
    if machine.power in (Power.DEALLOCATED, Power.DEALLOCATING) or machine.provisioning_state == "Creating":
        return None
    if guest.agent is Agent.ABSENT:
        return _silent_agent("VM status blob not found.", clock.now())
    message = "VM status blob is found but not yet populated." if machine.booting else "VM Agent is unresponsive."
    return _silent_agent(message, clock.now())


def _ready_agent(machine: Machine, seen: datetime) -> dict[str, Any]:
    windows = machine.os_type == "Windows"
    handlers = [
        {
            "type": extension.handler,
            "typeHandlerVersion": extension.handler_version,
            "status": dict(extension.handler_status),
        }
        for extension in machine.extensions.values()
        if extension.handler_status is not None
    ] + list(machine.leftovers.values())
    message = "GuestAgent is running and processing the extensions." if windows else "Guest Agent is running"
    status = _status("ProvisioningState/succeeded", "Ready", message=message, time=seen)
    return {
        "vmAgentVersion": "2.7.41491.1095" if windows else machine.guest.agent_version,
        "statuses": [status],
        "extensionHandlers": handlers,
    }


def _silent_agent(message: str, now: datetime) -> dict[str, Any]:
    status = _status("ProvisioningState/Unavailable", "Not Ready", level="Warning", message=message, time=now)
    return {"vmAgentVersion": "Unknown", "statuses": [status]}


def _statuses(machine: Machine, *, ready: bool) -> list[dict[str, Any]]:
    display = {
        "Succeeded": "Provisioning succeeded",
        "Failed": "Provisioning failed",
        "Updating": "Updating",
        "Creating": "Creating",
        "Deleting": "Deleting",
    }[machine.provisioning_state]
    code = f"ProvisioningState/{machine.provisioning_state.lower()}"
    level = "Error" if machine.provisioning_state == "Failed" else "Info"
    born = machine.booting and not ready and machine.guest.agent is not Agent.ABSENT
    guest_busy = born and machine.power is Power.RUNNING and machine.provisioning_state == "Succeeded"
    statuses = [_status(code, display, level=level, time=machine.provisioned_at)]
    if guest_busy:
        statuses.append(_status(f"{code}/osProvisioningInProgress", "OS Provisioning in progress"))
    if machine.generalized:
        statuses.append(_status("OSState/generalized", "VM generalized"))
    if machine.provisioning_state != "Creating":
        statuses.append(_status(f"PowerState/{machine.power}", f"VM {machine.power}"))
    return statuses


def _status(
    code: str, display: str, *, level: str = "Info", message: str = "", time: datetime | None = None
) -> dict[str, Any]:
    status = {"code": code, "level": level, "displayStatus": display}
    if message:
        status["message"] = message
    return status if time is None else status | {"time": time.isoformat()}
