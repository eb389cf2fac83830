"""Decision contexts for tests: a VM as ARM reports it, a policy, and the row in the table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from onboarding.domain.catalog.support_table import judge
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.decision import DecisionContext, RetryState
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import identify, parse_policy

ENTRY = load_catalogue()["oms-agent-linux"]
START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
OPENING = ("event-1", START, "correlation-1")
VM = "/subscriptions/s/resourceGroups/app-rg/providers/Microsoft.Compute/virtualMachines/web01"
XENIAL = {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS", "version": "latest"}
BIONIC = {**XENIAL, "sku": "18.04-LTS"}
CUSTOM = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/golden"}
READY = {"code": "ProvisioningState/succeeded", "displayStatus": "Ready"}
LOCKED = "Non-zero exit code: 55, omsagent.py -install\ndpkg: error: dpkg status database is locked by another process"
WRONG_KEY = "Non-zero exit code: 53, omsagent.py -enable\nInstallation failed due to incorrect workspace key."
CONNECTED = "[ExtensionOperationError] Non-zero exit code: 10, omsagent.py -enable\n[stdout]\nEnable,failed,10,"


def context(
    *,
    last: Row | None = None,
    now: datetime = START,
    problems: tuple[str, ...] = (),
    policy: dict[str, Any] | None = None,
    **vm: Any,
) -> DecisionContext:
    """A running, supported VM with a ready agent and no extension; `vm` changes it as `vm_body` says."""
    facts = read_facts(vm_body(**vm))
    release = identify(facts)
    raw = {"name": "linux", "extension": ENTRY.name, **(policy or {})}
    parsed = parse_policy(raw, "linux.yaml", compile_rule)
    return DecisionContext(
        facts=facts,
        release=release,
        judgement=judge(release, ENTRY.support_table("")),
        assignment=parsed.select(facts, now),
        entry=ENTRY,
        problems=problems,
        retry=RetryState(last, parsed.waits, now),
    )


def vm_body(**vm: Any) -> dict[str, Any]:
    """`vm`: power, agent (ready, silent, absent), image, os_type, os_name, state, profile, created, extensions."""
    agent = {"ready": {"statuses": [READY]}, "silent": {"statuses": [{"code": "ProvisioningState/Unavailable"}]}}
    extensions: list[tuple[dict[str, Any], dict[str, Any]]] = vm.get("extensions", [])
    view = {
        "statuses": [{"code": f"PowerState/{vm.get('power', 'running')}"}],
        "vmAgent": agent.get(vm.get("agent", "ready"), {}),
        "osName": vm.get("os_name"),
        "extensions": [seen for _, seen in extensions],
    }
    properties = {
        "vmId": "id-of-web01",
        "provisioningState": vm.get("state", "Succeeded"),
        "timeCreated": vm.get("created"),
        "storageProfile": {
            "imageReference": vm.get("image", XENIAL),
            "osDisk": {"osType": vm.get("os_type", "Linux")},
        },
        "osProfile": vm.get("profile"),
        "instanceView": view,
    }
    resources = [resource for resource, _ in extensions]
    return {"id": VM, "location": "westeurope", "resources": resources, "properties": properties}


def extension(
    state: str, name: str = "OMSExtension", message: str = "", type_: str = ENTRY.type
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An extension resource and the agent's view of it."""
    properties = {"publisher": ENTRY.publisher, "type": type_, "typeHandlerVersion": "1.3", "provisioningState": state}
    code = "failed/1" if state == "Failed" else "succeeded" if state == "Succeeded" else "transitioning"
    status = {"code": f"ProvisioningState/{code}", "message": message}
    resource = {"id": f"{VM}/extensions/{name}", "name": name, "properties": properties}
    return resource, {"name": name, "typeHandlerVersion": "1.14.19", "statuses": [status]}


def row(outcome: Outcome = Outcome.WAITING, waiting_for: WaitingFor | None = None, **values: Any) -> Row:
    """What the table knew of the VM."""
    defaults = {
        "resource_id": VM,
        "vm_name": "web01",
        "resource_group": "app-rg",
        "extension": ENTRY.name,
        "reason": "as it was",
        "event_id": "event-0",
        "event_time": START,
        "vm_id": "id-of-web01",
    }
    return Row(**{**defaults, "outcome": outcome, "waiting_for": waiting_for, **values})
