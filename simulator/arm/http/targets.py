"""What a request is about: method and path, read as ARM reads them, without regard to case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from simulator.arm.http import errors
from simulator.arm.http.errors import ArmError
from simulator.arm.http.versions import supported


class Kind(StrEnum):
    """The kinds of requests; requests are counted under these names."""

    VM_GET = "vm-get"
    VM_PUT = "vm-put"
    VM_PATCH = "vm-patch"
    VM_DELETE = "vm-delete"
    VM_LIST = "vm-list"
    VM_LIST_GROUP = "vm-list-group"
    VM_INSTANCE_VIEW = "vm-instance-view"
    VM_START = "vm-start"
    VM_RESTART = "vm-restart"
    VM_POWER_OFF = "vm-power-off"
    VM_DEALLOCATE = "vm-deallocate"
    VM_RUN_COMMAND = "vm-run-command"
    EXTENSION_GET = "extension-get"
    EXTENSION_PUT = "extension-put"
    EXTENSION_PATCH = "extension-patch"
    EXTENSION_DELETE = "extension-delete"
    EXTENSION_LIST = "extension-list"
    IMAGE_PUBLISHERS = "image-publishers"
    EXTENSION_TYPES = "extension-types"
    EXTENSION_VERSIONS = "extension-versions"
    OPERATION_POLL = "operation-poll"
    IMAGE_GET = "image-get"
    GALLERY_IMAGE_GET = "gallery-image-get"
    LOCATION_LIST = "location-list"
    RESOURCE_LIST = "resource-list"
    GROUP_LIST = "group-list"
    GROUP_GET = "group-get"
    GROUP_PUT = "group-put"
    PROVIDER_LIST = "provider-list"
    PROVIDER_GET = "provider-get"
    PROVIDER_REGISTER = "provider-register"
    SUBSCRIPTION_GET = "subscription-get"
    SUBSCRIPTION_LIST = "subscription-list"
    TENANT_LIST = "tenant-list"
    CLOUD_METADATA = "cloud-metadata"
    GRAPH_QUERY = "graph-query"
    DEPLOYMENT_PUT = "deployment-put"
    DEPLOYMENT_GET = "deployment-get"
    DEPLOYMENT_STATUS = "deployment-status"
    DEPLOYMENT_VALIDATE = "deployment-validate"
    DEPLOYMENT_LIST = "deployment-list"
    DEPLOYMENT_OPERATIONS = "deployment-operations"
    ASSOCIATION_GET = "association-get"
    ASSOCIATION_PUT = "association-put"
    ASSOCIATION_DELETE = "association-delete"
    ASSOCIATION_LIST = "association-list"
    RULE_GET = "rule-get"
    RULE_ASSOCIATIONS = "rule-associations"
    ENDPOINT_GET = "endpoint-get"
    ENDPOINT_ASSOCIATIONS = "endpoint-associations"
    IDENTITY_GET = "identity-get"
    INTERFACE_LIST = "interface-list"
    INTERFACE_GET = "interface-get"
    PUBLIC_ADDRESS_LIST = "public-address-list"
    PUBLIC_ADDRESS_GET = "public-address-get"
    LOGS_QUERY = "logs-query"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Target:
    """`names` holds the path's parts by role: group, vm, extension, association, rule, endpoint, identity, region,
    operation, image, gallery, deployment, provider,
    interface, address, publisher, type."""

    kind: Kind
    type: str
    subscription: str
    names: Mapping[str, str]

    @property
    def vm_id(self) -> str:
        """The id of the VM of the request, as spelled; empty without one."""
        if "vm" not in self.names:
            return ""
        scope = f"/subscriptions/{self.subscription}/resourceGroups/{self.names['group']}"
        return f"{scope}/providers/Microsoft.Compute/virtualMachines/{self.names['vm']}"


_COMPUTE = "/providers/Microsoft.Compute"
_GROUP = "/resourceGroups/{group}"
_VM = f"{_GROUP}{_COMPUTE}/virtualMachines/{{vm}}"
_PUBLISHERS = f"{_COMPUTE}/locations/{{region}}/publishers"
_EXTENSION_TYPES = f"{_PUBLISHERS}/{{publisher}}/artifacttypes/vmextension/types"
_INSIGHTS = "/providers/Microsoft.Insights"
_ASSOCIATIONS = f"{_VM}{_INSIGHTS}/dataCollectionRuleAssociations"
_RULE = f"{_GROUP}{_INSIGHTS}/dataCollectionRules/{{rule}}"
_ENDPOINT = f"{_GROUP}{_INSIGHTS}/dataCollectionEndpoints/{{endpoint}}"
_IDENTITY = f"{_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{{identity}}"
_NETWORK = "/providers/Microsoft.Network"
_DEPLOYMENT = f"{_GROUP}/providers/Microsoft.Resources/deployments/{{deployment}}"

# type (for the api-version), path after the subscription, kinds by method
_ROUTES: tuple[tuple[str, str, dict[str, Kind]], ...] = (
    ("subscriptions", "", {"GET": Kind.SUBSCRIPTION_GET}),
    ("subscriptions", "/locations", {"GET": Kind.LOCATION_LIST}),
    ("resources", "/resources", {"GET": Kind.RESOURCE_LIST}),
    ("resources", f"{_GROUP}/resources", {"GET": Kind.RESOURCE_LIST}),
    ("resourceGroups", "/resourceGroups", {"GET": Kind.GROUP_LIST}),
    ("resourceGroups", _GROUP, {"GET": Kind.GROUP_GET, "HEAD": Kind.GROUP_GET, "PUT": Kind.GROUP_PUT}),
    ("providers", "/providers", {"GET": Kind.PROVIDER_LIST}),
    ("providers", "/providers/{provider}", {"GET": Kind.PROVIDER_GET}),
    ("providers", "/providers/{provider}/register", {"POST": Kind.PROVIDER_REGISTER}),
    ("deployments", f"{_GROUP}/providers/Microsoft.Resources/deployments", {"GET": Kind.DEPLOYMENT_LIST}),
    ("deployments", f"{_DEPLOYMENT}/validate", {"POST": Kind.DEPLOYMENT_VALIDATE}),
    ("deployments", f"{_DEPLOYMENT}/operations", {"GET": Kind.DEPLOYMENT_OPERATIONS}),
    ("deployments", f"{_GROUP}/deployments/{{deployment}}/operations", {"GET": Kind.DEPLOYMENT_OPERATIONS}),
    ("deployments", _DEPLOYMENT, {"GET": Kind.DEPLOYMENT_GET, "PUT": Kind.DEPLOYMENT_PUT}),
    ("deployments", f"{_DEPLOYMENT}/operationStatuses/{{operation}}", {"GET": Kind.DEPLOYMENT_STATUS}),
    ("virtualMachines", f"{_COMPUTE}/virtualMachines", {"GET": Kind.VM_LIST}),
    ("locations/publishers", _PUBLISHERS, {"GET": Kind.IMAGE_PUBLISHERS}),
    ("locations/publishers", _EXTENSION_TYPES, {"GET": Kind.EXTENSION_TYPES}),
    ("locations/publishers", f"{_EXTENSION_TYPES}/{{type}}/versions", {"GET": Kind.EXTENSION_VERSIONS}),
    ("operations", f"{_COMPUTE}/locations/{{region}}/operations/{{operation}}", {"GET": Kind.OPERATION_POLL}),
    ("virtualMachines", f"{_GROUP}{_COMPUTE}/virtualMachines", {"GET": Kind.VM_LIST_GROUP}),
    (
        "virtualMachines",
        _VM,
        {"GET": Kind.VM_GET, "PUT": Kind.VM_PUT, "PATCH": Kind.VM_PATCH, "DELETE": Kind.VM_DELETE},
    ),
    ("virtualMachines", f"{_VM}/instanceView", {"GET": Kind.VM_INSTANCE_VIEW}),
    ("virtualMachines", f"{_VM}/start", {"POST": Kind.VM_START}),
    ("virtualMachines", f"{_VM}/restart", {"POST": Kind.VM_RESTART}),
    ("virtualMachines", f"{_VM}/powerOff", {"POST": Kind.VM_POWER_OFF}),
    ("virtualMachines", f"{_VM}/deallocate", {"POST": Kind.VM_DEALLOCATE}),
    ("virtualMachines", f"{_VM}/runCommand", {"POST": Kind.VM_RUN_COMMAND}),
    ("virtualMachines/extensions", f"{_VM}/extensions", {"GET": Kind.EXTENSION_LIST}),
    (
        "virtualMachines/extensions",
        f"{_VM}/extensions/{{extension}}",
        {
            "GET": Kind.EXTENSION_GET,
            "PUT": Kind.EXTENSION_PUT,
            "PATCH": Kind.EXTENSION_PATCH,
            "DELETE": Kind.EXTENSION_DELETE,
        },
    ),
    ("dataCollectionRuleAssociations", _ASSOCIATIONS, {"GET": Kind.ASSOCIATION_LIST}),
    (
        "dataCollectionRuleAssociations",
        f"{_ASSOCIATIONS}/{{association}}",
        {"GET": Kind.ASSOCIATION_GET, "PUT": Kind.ASSOCIATION_PUT, "DELETE": Kind.ASSOCIATION_DELETE},
    ),
    ("dataCollectionRules", _RULE, {"GET": Kind.RULE_GET}),
    ("dataCollectionRuleAssociations", f"{_RULE}/associations", {"GET": Kind.RULE_ASSOCIATIONS}),
    ("dataCollectionEndpoints", _ENDPOINT, {"GET": Kind.ENDPOINT_GET}),
    ("dataCollectionRuleAssociations", f"{_ENDPOINT}/associations", {"GET": Kind.ENDPOINT_ASSOCIATIONS}),
    ("networkInterfaces", f"{_NETWORK}/networkInterfaces", {"GET": Kind.INTERFACE_LIST}),
    ("networkInterfaces", f"{_GROUP}{_NETWORK}/networkInterfaces", {"GET": Kind.INTERFACE_LIST}),
    ("networkInterfaces", f"{_GROUP}{_NETWORK}/networkInterfaces/{{interface}}", {"GET": Kind.INTERFACE_GET}),
    ("publicIPAddresses", f"{_NETWORK}/publicIPAddresses", {"GET": Kind.PUBLIC_ADDRESS_LIST}),
    ("publicIPAddresses", f"{_GROUP}{_NETWORK}/publicIPAddresses", {"GET": Kind.PUBLIC_ADDRESS_LIST}),
    ("publicIPAddresses", f"{_GROUP}{_NETWORK}/publicIPAddresses/{{address}}", {"GET": Kind.PUBLIC_ADDRESS_GET}),
    ("userAssignedIdentities", _IDENTITY, {"GET": Kind.IDENTITY_GET}),
    ("images", f"{_GROUP}{_COMPUTE}/images/{{image}}", {"GET": Kind.IMAGE_GET}),
    ("galleries/images", f"{_GROUP}{_COMPUTE}/galleries/{{gallery}}/images/{{image}}", {"GET": Kind.GALLERY_IMAGE_GET}),
)


# requests to the whole tenant, by path
_TENANT = {
    "/metadata/endpoints": ("metadata", {"GET": Kind.CLOUD_METADATA}),
    "/tenants": ("tenants", {"GET": Kind.TENANT_LIST}),
    "/subscriptions": ("subscriptions", {"GET": Kind.SUBSCRIPTION_LIST}),
    "/providers/microsoft.resourcegraph/resources": ("resourceGraph", {"POST": Kind.GRAPH_QUERY}),
}


def _pattern(path: str) -> re.Pattern[str]:
    body = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
    return re.compile(rf"/subscriptions/(?P<subscription>[^/]+){body}/?", re.IGNORECASE)


_PATTERNS = tuple((type_, _pattern(path), kinds) for type_, path, kinds in _ROUTES)

_NAMESPACES = {found[1].lower() for _, path, _ in _ROUTES if (found := re.search(r"/providers/(Microsoft\.\w+)", path))}


def read_target(method: str, path: str) -> Target:
    """The target of a request; its kind is UNKNOWN if it is not simulated. As in ARM, empty parts of a path count as
    absent: `az resource show` sends one."""
    path = re.sub("/{2,}", "/", path)
    for type_, pattern, kinds in _PATTERNS:
        if match := pattern.fullmatch(path):
            names = match.groupdict()
            return Target(kinds.get(method, Kind.UNKNOWN), type_, names.pop("subscription"), names)
    if found := _TENANT.get(path.lower().rstrip("/")):
        type_, kinds = found
        return Target(kinds.get(method, Kind.UNKNOWN), type_, "", {})
    subscription = re.match(r"/subscriptions/([^/]+)", path, re.IGNORECASE)
    return Target(Kind.UNKNOWN, "", subscription[1] if subscription else "", {})


def no_such_route(target: Target, method: str, path: str, api_version: str) -> ArmError:
    """ARM's refusal of an unknown path, or of a method that a resource does not have."""
    if target.type:  # invented words, as for a path without any provider
        message = f"The requested resource does not support http method '{method}'."
        return ArmError(405, "MethodNotAllowed", message)
    provider = re.search(r"/providers/([^/]+)(?:/([^/]+))?", path, re.IGNORECASE)
    if provider is None:
        return ArmError(404, "NotFound", f"The requested path '{path}' was not found.", gateway=True)
    if provider[1].lower() not in _NAMESPACES:
        message = f"The resource namespace '{provider[1]}' is invalid."
        return ArmError(404, "InvalidResourceNamespace", message, gateway=True)
    message = (
        f"The resource type '{provider[2] or ''}' could not be found in the namespace '{provider[1]}' for api "
        f"version '{api_version}'. The supported api-versions are '{', '.join(supported('virtualMachines'))}'."
    )
    return ArmError(404, "InvalidResourceType", message, gateway=True)


def missing_vm(target: Target) -> ArmError:
    """ARM's error for a missing VM, for a request to the VM or to a resource below it."""
    if target.type == "virtualMachines":
        path = f"Microsoft.Compute/virtualMachines/{target.names['vm']}"
        return errors.resource_not_found(path, target.names["group"])
    return errors.parent_not_found(target.names["vm"])
