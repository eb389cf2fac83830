"""Event Grid events of ARM, raised when an operation has ended: the Event Grid schema, exactly as Azure fills it.

The claims hold invented names, addresses and ids, so that a search finds every place that logs or stores them.
As in Azure, the resource group is not always spelled as it is stored.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.clock import Clock

PERSON = {
    "name": "Wilhelmina Vanterpool",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress": "wilhelmina.vanterpool@contoso.example",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "wilhelmina.vanterpool@contoso.example",
    "ipaddr": "203.0.113.77",
    "puid": "10032001DEADBEEF",
    "uti": "kQ7-personal-token-id-Zw",
}

Publish = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a write, and the parts of the request that its event contains. `person`: whether a human sent it;
    `resource`: the Azure resource whose managed identity sent it, such as a policy assignment;
    `failure`: the error with which the operation that it begins has to end, if a fault rule says so."""

    principal: str
    person: bool = False
    method: str = "PUT"
    url: str = ""
    address: str = "203.0.113.7"
    correlation: str = field(default_factory=lambda: str(uuid.uuid4()))
    failure: Mapping[str, Any] | None = field(default=None, repr=False)
    resource: str = ""


def owner() -> Caller:
    """The person who owns the fleet."""
    return Caller("5f0d6c5e-0000-4000-8000-0000000000bb", person=True)


def other_deployer() -> Caller:
    """Somebody else's pipeline."""
    return Caller("b7a1d2c3-0000-4000-8000-0000000000cc")


def policy_engine() -> Caller:
    """Azure Policy, with the identity of a policy assignment. The name of the assignment is invented."""
    assignment = "/providers/Microsoft.Management/managementGroups/corp/providers/Microsoft.Authorization"
    return Caller("c4e8f1a6-0000-4000-8000-0000000000dd", resource=f"{assignment}/policyAssignments/agents")


NOBODY = Caller("")  # what happens without a write, such as a fault of the network


@dataclass(frozen=True, slots=True)
class Change:
    """A finished operation: `verb` is Write, Delete or Action, `action` the last words of the operation name."""

    resource_id: str
    operation: str
    caller: Caller
    verb: str = "Write"
    status: str = "Succeeded"
    update: bool = False
    action: str = ""


_OUTCOMES = {"Succeeded": "Success", "Failed": "Failure", "Canceled": "Cancel"}


class Events:
    """Builds an event for each change and publishes it."""

    def __init__(self, clock: Clock, seed: int, tenant: str, publish: Publish) -> None:
        self._clock = clock
        self._random = random.Random(f"{seed}|events")
        self._tenant = tenant
        self._publish: Publish | None = publish

    def raise_for(self, change: Change) -> None:
        if self._publish is not None:
            self._publish(self._event(change))

    def close(self) -> None:
        """Publish no further events."""
        self._publish = None

    def _event(self, change: Change) -> dict[str, Any]:
        resource = self._respelled(change.resource_id)
        subscription = resource.split("/")[2]
        return {
            "subject": f"{resource}/{change.action}" if change.action else resource,
            "eventType": f"Microsoft.Resources.Resource{change.verb}{_OUTCOMES[change.status]}",
            "eventTime": _seven_digits(self._clock.now()),
            "id": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "data": self._data(change, resource, subscription),
            "dataVersion": "2",
            "metadataVersion": "1",
            "topic": f"/subscriptions/{subscription}",
        }

    def _data(self, change: Change, resource: str, subscription: str) -> dict[str, Any]:
        data = {
            "authorization": {
                "scope": resource,
                "action": change.operation,
                "evidence": _evidence(change.caller, subscription),
            },
            "claims": _claims(change.caller, self._tenant),
            "correlationId": change.caller.correlation,
            "resourceProvider": change.operation.partition("/")[0],
            "resourceUri": resource,
            "operationName": change.operation,
            "status": change.status,
            "subscriptionId": subscription,
            "tenantId": self._tenant,
        }
        return data | {"httpRequest": _http_request(change)} if change.update else data

    def _respelled(self, resource: str) -> str:
        _, subscriptions, subscription, groups, group, rest = resource.split("/", 5)
        spelling = self._random.choice([group, group, group.upper(), group.lower()])
        word = self._random.choice([groups, groups, groups.lower()])
        return "/".join(("", subscriptions, subscription, word, spelling, rest))


def _evidence(caller: Caller, subscription: str) -> dict[str, str]:
    return {
        "role": "Contributor",
        "roleAssignmentScope": f"/subscriptions/{subscription}",
        "principalId": caller.principal.replace("-", ""),
        "principalType": "User" if caller.person else "ServicePrincipal",
    }


def _claims(caller: Caller, tenant: str) -> dict[str, str]:
    claims = {
        "aud": "https://management.core.windows.net/",
        "iss": f"https://sts.windows.net/{tenant}/",
        "appid": "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
        "http://schemas.microsoft.com/identity/claims/objectidentifier": caller.principal,
        "ver": "1.0",
    }
    if caller.resource:
        claims |= {
            "idtyp": "app",
            "xms_mirid": caller.resource,
        }  # inferred: no captured event of a remediation was found
    return claims | PERSON if caller.person else claims


def _http_request(change: Change) -> dict[str, str]:
    caller = change.caller
    return {
        "clientRequestId": caller.correlation,
        "clientIpAddress": caller.address,
        "method": caller.method,
        "url": caller.url or f"https://management.azure.com{change.resource_id}?api-version=2024-11-01",
    }


def _seven_digits(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0Z"
