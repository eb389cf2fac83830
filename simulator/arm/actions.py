"""The operations of role definitions: the one that each kind of request needs, the roles that allow them, and a record
of all that were needed, so that a test can compare a role with what really happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from simulator.arm.http.targets import Kind

_BY_PROVIDER: Mapping[str, Mapping[Kind, str]] = {
    "Microsoft.Compute": {
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
        Kind.IMAGE_PUBLISHERS: "locations/publishers/read",
        Kind.EXTENSION_TYPES: "locations/publishers/artifacttypes/types/read",
        Kind.EXTENSION_VERSIONS: "locations/publishers/artifacttypes/types/versions/read",
        Kind.IMAGE_GET: "images/read",
        Kind.GALLERY_IMAGE_GET: "galleries/images/read",
        Kind.PROVIDER_REGISTER: "register/action",
    },
    "Microsoft.Insights": {
        Kind.ASSOCIATION_GET: "dataCollectionRuleAssociations/read",
        Kind.ASSOCIATION_LIST: "dataCollectionRuleAssociations/read",
        Kind.ASSOCIATION_PUT: "dataCollectionRuleAssociations/write",
        Kind.ASSOCIATION_DELETE: "dataCollectionRuleAssociations/delete",
        Kind.RULE_GET: "dataCollectionRules/read",
        Kind.RULE_ASSOCIATIONS: "dataCollectionRuleAssociations/read",
        Kind.ENDPOINT_GET: "dataCollectionEndpoints/read",
        Kind.ENDPOINT_ASSOCIATIONS: "dataCollectionRuleAssociations/read",
    },
    "Microsoft.Network": {
        Kind.INTERFACE_LIST: "networkInterfaces/read",
        Kind.INTERFACE_GET: "networkInterfaces/read",
        Kind.PUBLIC_ADDRESS_LIST: "publicIPAddresses/read",
        Kind.PUBLIC_ADDRESS_GET: "publicIPAddresses/read",
    },
    "Microsoft.ManagedIdentity": {Kind.IDENTITY_GET: "userAssignedIdentities/read"},
    "Microsoft.Resources": {
        Kind.PROVIDER_LIST: "subscriptions/providers/read",
        Kind.PROVIDER_GET: "subscriptions/providers/read",
        Kind.LOCATION_LIST: "subscriptions/locations/read",
        Kind.RESOURCE_LIST: "subscriptions/resources/read",
        Kind.GROUP_LIST: "subscriptions/resourceGroups/read",
        Kind.SUBSCRIPTION_GET: "subscriptions/read",
        Kind.GROUP_GET: "subscriptions/resourceGroups/read",
        Kind.GROUP_PUT: "subscriptions/resourceGroups/write",
        Kind.DEPLOYMENT_PUT: "deployments/write",
        Kind.DEPLOYMENT_GET: "deployments/read",
        Kind.DEPLOYMENT_STATUS: "deployments/operationstatuses/read",
        Kind.DEPLOYMENT_VALIDATE: "deployments/validate/action",
        Kind.DEPLOYMENT_LIST: "deployments/read",
        Kind.DEPLOYMENT_OPERATIONS: "deployments/operations/read",
    },
}
ACTIONS: Mapping[Kind, str] = {
    kind: f"{provider}/{action}" for provider, kinds in _BY_PROVIDER.items() for kind, action in kinds.items()
}
_SPELLINGS = {action.lower(): action for action in ACTIONS.values()}


def reading(type_: str) -> str:
    """The operation that reads resources of a type in any spelling."""
    action = f"{type_}/read"
    return _SPELLINGS.get(action.lower(), action)


@dataclass(frozen=True, slots=True)
class Role:
    """What a role definition allows: action patterns with `*`, compared without case."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...] = ()

    def allows(self, action: str) -> bool:
        return _matches(action, self.actions) and not _matches(action, self.not_actions)


def read_role(definition: Mapping[str, Any]) -> Role:
    """The role of a definition, in the form of `az role definition` or in ARM's own; raises ValueError."""
    named = {key.lower(): value for key, value in definition.get("properties", definition).items()}
    parts = [{key.lower(): value for key, value in part.items()} for part in named.get("permissions", [named])]
    actions = tuple(str(action) for part in parts for action in part.get("actions", ()))
    if not actions:
        raise ValueError("the role definition has no actions; write them as a list under 'Actions'")
    return Role(actions, tuple(str(action) for part in parts for action in part.get("notactions", ())))


@dataclass(frozen=True, slots=True)
class NeededAction:
    """One operation that a request needed. `linked`: on a resource that the body names, not on the one written."""

    principal: str
    method: str
    action: str
    scope: str
    granted: bool
    linked: bool = False


class NeededActions:
    """A record of all operations that requests needed, refused or not."""

    def __init__(self) -> None:
        self._needed: list[NeededAction] = []

    def __iter__(self) -> Iterator[NeededAction]:
        return iter(tuple(self._needed))

    def add(self, needed: NeededAction) -> None:
        self._needed.append(needed)

    def of(self, principal: str = "*") -> set[str]:
        """The operations that the principal needed."""
        return {each.action for each in self._needed if fnmatchcase(each.principal, principal)}

    def missing(self, roles: Iterable[Role], principal: str = "*") -> set[str]:
        """Those of them that none of these roles allows."""
        held = tuple(roles)
        return {action for action in self.of(principal) if not any(role.allows(action) for role in held)}


def _matches(action: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
