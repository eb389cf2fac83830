"""The resource providers, their types and the api-versions of each, as `GET /providers` shows them.

Clients such as `az resource show` take the api-version of a request from here, so each type lists exactly the versions
that requests to it may have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from simulator.arm.http.errors import ArmError
from simulator.arm.http.versions import supported
from simulator.arm.resources.regions import REGIONS

# types by provider, each with its name in the table of versions
_PROVIDERS: Mapping[str, Mapping[str, str]] = {
    "Microsoft.Compute": {
        "virtualMachines": "virtualMachines",
        "virtualMachines/extensions": "virtualMachines/extensions",
        "images": "images",
        "galleries/images": "galleries/images",
        "locations/operations": "operations",
        "locations/publishers": "locations/publishers",
    },
    "Microsoft.Insights": {
        "dataCollectionRules": "dataCollectionRules",
        "dataCollectionEndpoints": "dataCollectionEndpoints",
        "dataCollectionRuleAssociations": "dataCollectionRuleAssociations",
    },
    "Microsoft.ManagedIdentity": {"userAssignedIdentities": "userAssignedIdentities"},
    "Microsoft.Network": {"networkInterfaces": "networkInterfaces", "publicIPAddresses": "publicIPAddresses"},
    "Microsoft.ResourceGraph": {"resources": "resourceGraph"},
    "Microsoft.Resources": {
        "deployments": "deployments",
        "resourceGroups": "resourceGroups",
        "resources": "resources",
        "subscriptions": "subscriptions",
    },
}
_SPELLINGS = {namespace.lower(): namespace for namespace in _PROVIDERS}


def provider_body(subscription: str, namespace: str, *, registered: bool) -> dict[str, Any]:
    """One provider, by its name in any spelling. Raises ARM's 404 for a provider that is not simulated."""
    found = _SPELLINGS.get(namespace.lower())
    if found is None:
        message = f"The resource namespace '{namespace}' is invalid."
        raise ArmError(404, "InvalidResourceNamespace", message, gateway=True)
    return {
        "id": f"/subscriptions/{subscription}/providers/{found}",
        "namespace": found,
        "resourceTypes": [_type(name, versions) for name, versions in _PROVIDERS[found].items()],
        "registrationState": "Registered" if registered else "NotRegistered",
        "registrationPolicy": "RegistrationFree" if found == "Microsoft.Resources" else "RegistrationRequired",
    }


def namespaces() -> Iterable[str]:
    return _PROVIDERS


def _type(name: str, versions: str) -> dict[str, Any]:
    return {
        "resourceType": name,
        "locations": [region.display_name for region in REGIONS],
        "apiVersions": supported(versions)[::-1],  # the newest first
        "capabilities": "None",
    }
