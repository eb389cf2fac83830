"""The state of subscriptions and groups because of which ARM refuses: roles, deny policies, locks, registration.

These are states, not scripted answers: they apply to every request until they are removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from simulator.arm.http.errors import ArmError
from simulator.arm.http.targets import Kind, Target

_ACTIONS = {
    Kind.VM_GET: "virtualMachines/read",
    Kind.VM_LIST: "virtualMachines/read",
    Kind.VM_LIST_GROUP: "virtualMachines/read",
    Kind.VM_INSTANCE_VIEW: "virtualMachines/instanceView/read",
    Kind.VM_PUT: "virtualMachines/write",
    Kind.VM_PATCH: "virtualMachines/write",
    Kind.VM_DELETE: "virtualMachines/delete",
    Kind.VM_START: "virtualMachines/start/action",
    Kind.VM_RESTART: "virtualMachines/restart/action",
    Kind.VM_POWER_OFF: "virtualMachines/powerOff/action",
    Kind.VM_DEALLOCATE: "virtualMachines/deallocate/action",
    Kind.VM_RUN_COMMAND: "virtualMachines/runCommand/action",
    Kind.EXTENSION_GET: "virtualMachines/extensions/read",
    Kind.EXTENSION_LIST: "virtualMachines/extensions/read",
    Kind.EXTENSION_PUT: "virtualMachines/extensions/write",
    Kind.EXTENSION_PATCH: "virtualMachines/extensions/write",
    Kind.EXTENSION_DELETE: "virtualMachines/extensions/delete",
    Kind.OPERATION_POLL: "locations/operations/read",
    Kind.IMAGE_GET: "images/read",
    Kind.GALLERY_IMAGE_GET: "galleries/images/read",
}
_RESOURCES = {
    Kind.SUBSCRIPTION_GET: "subscriptions/read",
    Kind.GROUP_GET: "subscriptions/resourceGroups/read",
    Kind.GROUP_PUT: "subscriptions/resourceGroups/write",
    Kind.DEPLOYMENT_PUT: "deployments/write",
    Kind.DEPLOYMENT_GET: "deployments/read",
    Kind.DEPLOYMENT_STATUS: "deployments/operationstatuses/read",
}


@dataclass(slots=True)
class Scopes:
    """The state of all scopes. Scopes are ids (`/subscriptions/…`, with or without a group), compared without case.

    `roles` maps a principal to (scope, action pattern) pairs; a principal without an entry may do everything.
    """

    roles: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    locks: set[str] = field(default_factory=set)
    denied: dict[str, str] = field(default_factory=dict)
    unregistered: set[str] = field(default_factory=set)
    disabled: set[str] = field(default_factory=set)
    going: set[str] = field(default_factory=set)

    def grant(self, principal: str, scope: str, action: str) -> None:
        """Grant `action`, such as `Microsoft.Compute/virtualMachines/read`; every other action is refused then."""
        self.roles.setdefault(principal, []).append((scope.lower(), action.lower()))

    def lock(self, scope: str) -> None:
        self.locks.add(scope.lower())

    def deny_handler(self, scope: str, handler: str) -> None:
        """A deny policy on extensions of that publisher.type."""
        self.denied[scope.lower()] = handler.lower()

    def may_read(self, principal: str, resource_id: str) -> bool:
        """Whether the principal has a role to read the VM or extension."""
        action = "microsoft.compute/virtualmachines/read"
        roles = self.roles.get(principal)
        return roles is None or any(_within(resource_id, s) and fnmatch(action, a) for s, a in roles)

    def may_see(self, principal: str, subscription: str) -> bool:
        """Whether the principal has any role on the subscription or on something in it."""
        roles = self.roles.get(principal)
        return roles is None or any(_within(scope, f"/subscriptions/{subscription}".lower()) for scope, _ in roles)

    def check(self, target: Target, method: str, principal: str, body: Mapping[str, Any]) -> None:
        """Raise ARM's refusal of this request, if there is one."""
        if target.kind in (Kind.GRAPH_QUERY, Kind.SUBSCRIPTION_LIST):
            return  # these answers leave out what the caller may not read
        path = _path(target)
        self._check_role(target, path, principal)
        if method == "GET" or target.kind is Kind.PROVIDER_REGISTER:
            return
        self._check_state(target, path)
        if target.kind is Kind.EXTENSION_PUT:
            self._check_policy(target, path, body)

    def _check_role(self, target: Target, path: str, principal: str) -> None:
        action = f"Microsoft.Compute/{_ACTIONS.get(target.kind, 'unknown')}"
        if target.kind in _RESOURCES:
            action = f"Microsoft.Resources/{_RESOURCES[target.kind]}"
        roles = self.roles.get(principal)
        if roles is None or any(_within(path, s) and fnmatch(action.lower(), a) for s, a in roles):
            return
        message = (
            f"The client '{principal}' with object id '{principal}' does not have authorization to perform action "
            f"'{action}' over scope '{path}' or the scope is invalid. If access was recently granted, please refresh "
            "your credentials."
        )
        raise ArmError(403, "AuthorizationFailed", message, gateway=True)

    def _check_state(self, target: Target, path: str) -> None:
        subscription, group = target.subscription.lower(), target.names.get("group", "")
        if subscription in self.disabled:
            message = (
                f"The subscription '{target.subscription}' is disabled and therefore marked as read only. You cannot "
                "perform any write actions on this subscription until it is re-enabled."
            )
            raise ArmError(409, "ReadOnlyDisabledSubscription", message, gateway=True)
        if subscription in self.unregistered:
            raise _unregistered()
        if group and f"/subscriptions/{subscription}/resourcegroups/{group}".lower() in self.going:
            message = f"The resource group '{group}' is in deprovisioning state and cannot perform this operation."
            raise ArmError(409, "ResourceGroupBeingDeleted", message, gateway=True)
        locked = [lock for lock in self.locks if _within(path, lock)]
        if locked:
            message = (
                f"The scope '{path}' cannot perform write operation because following scope(s) are locked: "
                f"'{locked[0]}'. Please remove the lock and try again."
            )
            raise ArmError(409, "ScopeLocked", message, gateway=True)

    def _check_policy(self, target: Target, path: str, body: Mapping[str, Any]) -> None:
        properties = body.get("properties") or {}
        handler = f"{properties.get('publisher')}.{properties.get('type')}".lower()
        if any(_within(path, scope) and denied == handler for scope, denied in self.denied.items()):
            raise _disallowed(target.names["extension"], target.subscription)


def _unregistered() -> ArmError:
    message = (
        "The subscription is not registered to use namespace 'Microsoft.Compute'. See https://aka.ms/rps-not-found "
        "for how to register subscriptions."
    )
    detail = {"code": "MissingSubscriptionRegistration", "target": "Microsoft.Compute", "message": message}
    return ArmError(409, "MissingSubscriptionRegistration", message, gateway=True, details=[detail])


def _disallowed(name: str, subscription: str) -> ArmError:
    title = "Deny the agent extension"
    assignment = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/policyAssignments/deny-agent"
    definition = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/policyDefinitions/deny-agent"
    identifiers = [
        {
            "policyAssignment": {"name": title, "id": assignment},
            "policyDefinition": {"name": title, "id": definition},
        }
    ]
    listed = json.dumps(identifiers, separators=(",", ":"))
    message = f"Resource '{name}' was disallowed by policy. Policy identifiers: '{listed}'."
    info = {"policyDefinitionDisplayName": title, "policyAssignmentId": assignment, "policyDefinitionId": definition}
    return ArmError(
        403,
        "RequestDisallowedByPolicy",
        message,
        gateway=True,
        target=name,
        additionalInfo=[{"type": "PolicyViolation", "info": info}],
    )


def _path(target: Target) -> str:
    if target.vm_id:
        extension = target.names.get("extension")
        return f"{target.vm_id}/extensions/{extension}" if extension else target.vm_id
    group = target.names.get("group")
    scope = f"/subscriptions/{target.subscription}"
    return f"{scope}/resourceGroups/{group}" if group else scope


def _within(path: str, scope: str) -> bool:
    return f"{path.lower()}/".startswith(f"{scope.rstrip('/')}/")
