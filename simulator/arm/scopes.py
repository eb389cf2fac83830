"""The state of subscriptions and groups because of which ARM refuses: roles, deny policies, locks, registration.

These are states, not scripted answers: they apply to every request until they are removed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.arm.actions import ACTIONS, NeededAction, NeededActions, Role
from simulator.arm.http.errors import ArmError
from simulator.arm.http.targets import Kind, Target
from simulator.arm.identity.machine_identity import assigned_ids
from simulator.arm.identity.refusals import ASSIGN, link_not_authorized

# the operation that the body's links need, by the property with the link
_LINKS = {
    "dataCollectionRuleId": "Microsoft.Insights/dataCollectionRules/read",
    "dataCollectionEndpointId": "Microsoft.Insights/dataCollectionEndpoints/read",
}
# lists that leave out what the caller may not read, as the requests to the whole tenant do
_LEAVE_OUT = (Kind.GROUP_LIST, Kind.RESOURCE_LIST)
# the last part of the path, by the name of the target that it has
_NAMED = {
    "extension": "extensions",
    "association": "providers/Microsoft.Insights/dataCollectionRuleAssociations",
    "rule": "providers/Microsoft.Insights/dataCollectionRules",
    "endpoint": "providers/Microsoft.Insights/dataCollectionEndpoints",
    "identity": "providers/Microsoft.ManagedIdentity/userAssignedIdentities",
    "interface": "providers/Microsoft.Network/networkInterfaces",
    "address": "providers/Microsoft.Network/publicIPAddresses",
}


@dataclass(slots=True)
class Scopes:
    """The state of all scopes. Scopes are ids (`/subscriptions/…`, with or without a group), compared without case.

    `roles` maps a principal to (scope, role) pairs; a principal without an entry may do everything. `needed` records
    the operation of every request.
    """

    roles: dict[str, list[tuple[str, Role]]] = field(default_factory=dict)
    needed: NeededActions = field(default_factory=NeededActions)
    locks: set[str] = field(default_factory=set)
    delete_locks: set[str] = field(default_factory=set)
    denied: dict[str, str] = field(default_factory=dict)
    unregistered: set[str] = field(default_factory=set)
    disabled: set[str] = field(default_factory=set)
    going: set[str] = field(default_factory=set)

    def grant(self, principal: str, scope: str, action: str) -> None:
        """Grant `action`, such as `Microsoft.Compute/virtualMachines/read`; every other action is refused then."""
        self.assign(principal, scope, Role((action,)))

    def assign(self, principal: str, scope: str, role: Role) -> None:
        """Assign a role at that scope; everything that no assigned role allows is refused then."""
        self.roles.setdefault(principal, []).append((scope.lower(), role))

    def lock(self, scope: str, *, deletes_only: bool = False) -> None:
        """Lock a scope against all writes, or with `deletes_only` (CanNotDelete) against deletions."""
        (self.delete_locks if deletes_only else self.locks).add(scope.lower())

    def deny_handler(self, scope: str, handler: str) -> None:
        """A deny policy on extensions of that publisher.type."""
        self.denied[scope.lower()] = handler.lower()

    def allows(self, principal: str, action: str, scope: str) -> bool:
        """Whether the principal may do that on that resource."""
        roles = self.roles.get(principal)
        return roles is None or any(_within(scope, at) and role.allows(action) for at, role in roles)

    def may_read(self, principal: str, resource_id: str, type_: str) -> bool:
        """Whether the principal may read the resource, which is of that type."""
        return self.allows(principal, f"{type_}/read", resource_id)

    def may_see(self, principal: str, subscription: str) -> bool:
        """Whether the principal has any role on the subscription or on something in it."""
        roles = self.roles.get(principal)
        return roles is None or any(_within(scope, f"/subscriptions/{subscription}".lower()) for scope, _ in roles)

    def check(self, target: Target, method: str, principal: str, body: Mapping[str, Any]) -> None:
        """Raise ARM's refusal of this request, if there is one."""
        if not target.subscription or target.kind in _LEAVE_OUT:
            return  # the answer leaves out what the caller may not read
        path = _path(target)
        action = _action(target)
        self._check_role(method, action, path, principal)
        if method in ("GET", "HEAD") or target.kind is Kind.PROVIDER_REGISTER:
            return
        self._check_links(target, path, principal, method, body)
        self._check_state(target, path, method)
        if target.kind is Kind.EXTENSION_PUT:
            self._check_policy(target, path, body)

    def _check_role(self, method: str, action: str, path: str, principal: str) -> None:
        granted = self.allows(principal, action, path)
        self.needed.add(NeededAction(principal, method, action, path, granted))
        if granted:
            return
        message = (
            f"The client '{principal}' with object id '{principal}' does not have authorization to perform action "
            f"'{action}' over scope '{path}' or the scope is invalid. If access was recently granted, please refresh "
            "your credentials."
        )
        raise ArmError(403, "AuthorizationFailed", message, gateway=True)

    def _check_links(self, target: Target, path: str, principal: str, method: str, body: Mapping[str, Any]) -> None:
        """Refuse a write that names resources on which the principal may not do what the link needs."""
        refused: dict[str, list[str]] = defaultdict(list)
        for action, resource_id in _links(target, body):
            granted = self.allows(principal, action, resource_id)
            self.needed.add(NeededAction(principal, method, action, resource_id, granted, linked=True))
            if not granted:
                refused[action].append(resource_id)
        for action, resource_ids in refused.items():
            raise link_not_authorized(principal, ACTIONS[target.kind], path, action, resource_ids)

    def _check_state(self, target: Target, path: str, method: str) -> None:
        subscription, group = target.subscription.lower(), target.names.get("group", "")
        if subscription in self.disabled:
            message = (
                f"The subscription '{target.subscription}' is disabled and therefore marked as read only. You cannot "
                "perform any write actions on this subscription until it is re-enabled."
            )
            raise ArmError(409, "ReadOnlyDisabledSubscription", message, gateway=True)
        if subscription in self.unregistered and "association" not in target.names:
            raise _unregistered()
        if group and f"/subscriptions/{subscription}/resourcegroups/{group}".lower() in self.going:
            message = f"The resource group '{group}' is in deprovisioning state and cannot perform this operation."
            raise ArmError(409, "ResourceGroupBeingDeleted", message, gateway=True)
        deletes = method == "DELETE"
        locked = [lock for lock in (self.locks | self.delete_locks if deletes else self.locks) if _within(path, lock)]
        if locked:
            operation = "delete" if deletes else "write"
            message = (
                f"The scope '{path}' cannot perform {operation} operation because following scope(s) are locked: "
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


def _links(target: Target, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The resources that a write names, each with the operation that the caller needs on it."""
    if target.kind in (Kind.VM_PUT, Kind.VM_PATCH):
        yield from ((ASSIGN, resource_id) for resource_id in assigned_ids(body.get("identity")))
    if target.kind is Kind.ASSOCIATION_PUT:
        properties = body.get("properties", {})
        yield from ((action, str(properties[name])) for name, action in _LINKS.items() if properties.get(name))


def _action(target: Target) -> str:
    """The operation that the request needs; each provider has its own right to register it."""
    action = ACTIONS[target.kind]
    provider = target.names.get("provider", "Microsoft.Compute")
    return action.replace("Microsoft.Compute", provider) if target.kind is Kind.PROVIDER_REGISTER else action


def _path(target: Target) -> str:
    scope = f"/subscriptions/{target.subscription}"
    names = target.names
    if "group" in names:
        scope += f"/resourceGroups/{names['group']}"
    below = target.vm_id or scope
    for name, type_ in _NAMED.items():
        if name in names:
            return f"{below}/{type_}/{names[name]}"
    return below


def _within(path: str, scope: str) -> bool:
    return f"{path.lower()}/".startswith(f"{scope.rstrip('/')}/")
