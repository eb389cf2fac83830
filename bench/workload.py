"""The VMs of a run and their events: the same work for every implementation."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
GROUP = "rg-bench"
WORKSPACE = "3e7e0000-0000-4000-8000-000000000001"
WORKSPACE_KEY = base64.b64encode(bytes(64)).decode()
VM_ID = "3e7e0000-0000-4000-8000-000000000002"
EXTENSION_NAME = "OmsAgentForLinux"
RESOURCE_NAME = "OMSExtension"  # the extension's name in the product
EQUIPPED = "equipped"  # VMs with names that begin with this have the extension
IGNORED = "ignored"  # events with such names are about a disk, not a VM
CONFIRMED = "confirmed"  # runs with this name end with the event of the extension's success
ONE_STEP = "one"  # such runs too, and those of the Azure Monitor Agent
FITTING = "fitting"  # VMs with names that begin with this have a system-assigned identity
WITHOUT = "without"  # such VMs have none; the event of its write comes before that of the extension
RULE = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Insights/dataCollectionRules/dcr-bench"
)
AGENT_NAME = "AzureMonitorLinuxAgent"
_VM_TYPE = "Microsoft.Compute/virtualMachines"
_VM, _DISK = f"{_VM_TYPE}/write", "Microsoft.Compute/disks/write"


def vm_name(run: str, number: int) -> str:
    return f"{run}-{number:06d}"


def subscription_of(number: int) -> str:
    """One of several subscriptions; the first is that of all other runs."""
    return f"{SUBSCRIPTION[:-2]}{number + 1:02}"


def vm_path(name: str) -> str:
    """The VM's ARM id."""
    scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    return f"{scope}/providers/Microsoft.Compute/virtualMachines/{name}"


def created_event(name: str) -> str:
    """The event of a created VM, as long as Azure's events."""
    return _event(name, vm_path(name), _DISK if name.startswith(IGNORED) else _VM)


def following_events(run: str, name: str) -> list[str]:
    """The events of a VM after that of its creation, as far as the run has them: of its identity, of its extension."""
    identity = [_event(f"{name}-identity", vm_path(name), _VM)] if run == WITHOUT else []
    if run not in (CONFIRMED, ONE_STEP, FITTING, WITHOUT):
        return []
    resource = AGENT_NAME if run in (FITTING, WITHOUT) else RESOURCE_NAME
    return [*identity, _event(f"{name}-end", f"{vm_path(name)}/extensions/{resource}", f"{_VM_TYPE}/extensions/write")]


def _event(name: str, path: str, operation: str) -> str:
    claims = {
        "aud": "https://management.core.windows.net/",
        "iss": "https://sts.windows.net/8e0b7c2a-6d4f-4f7e-8f11-5b1f6a2c9d33/",
        "appid": "1950a258-227b-4e31-a9cf-717495945fc2",
        "http://schemas.microsoft.com/identity/claims/objectidentifier": "11111111-0000-4000-8000-000000000001",
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name": "person@example.com",
        "ver": "1.0",
    }
    event = {
        "id": f"event-{name}",
        "topic": f"/subscriptions/{SUBSCRIPTION}",
        "subject": path,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": datetime.now(UTC).isoformat(),
        "dataVersion": "2",
        "metadataVersion": "1",
        "data": {
            "authorization": {"scope": path, "action": operation, "evidence": {"role": "Contributor"}},
            "claims": claims,
            "correlationId": f"correlation-{name}",
            "resourceProvider": "Microsoft.Compute",
            "resourceUri": path,
            "operationName": operation,
            "status": "Succeeded",
            "subscriptionId": SUBSCRIPTION,
            "tenantId": "8e0b7c2a-6d4f-4f7e-8f11-5b1f6a2c9d33",
        },
    }
    return json.dumps(event, indent=2)
