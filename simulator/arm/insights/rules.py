"""Data collection rules and endpoints, as resources that exist or do not; only the parts that clients read."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.arm.compute.machines import Machines

_RULES = "Microsoft.Insights/dataCollectionRules"
_ENDPOINTS = "Microsoft.Insights/dataCollectionEndpoints"


@dataclass(frozen=True, slots=True)
class CollectionResource:
    """A rule or an endpoint. `kind` is the operating system it is for: `Linux`, `Windows`, or empty for both."""

    id: str
    type: str
    location: str
    kind: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    etag: str = field(default_factory=lambda: f'"{uuid.uuid4()}"')

    @property
    def key(self) -> str:
        return self.id.lower()

    @property
    def is_rule(self) -> bool:
        return self.type == _RULES

    @property
    def workspaces(self) -> list[str]:
        """The resource ids of the workspaces that the rule sends to."""
        targets = self.properties.get("destinations", {}).get("logAnalytics", ())
        return [str(target["workspaceResourceId"]) for target in targets]

    def fits(self, os_type: str) -> bool:
        return not self.kind or self.kind.lower() == os_type.lower()

    def body(self) -> dict[str, Any]:
        kind = {"kind": self.kind} if self.kind else {}
        properties = {**self.properties, "provisioningState": "Succeeded"}
        name = self.id.rpartition("/")[2]
        own = {"id": self.id, "name": name, "type": self.type, "location": self.location, "etag": self.etag}
        return {**own, **kind, "properties": properties}


class CollectionResources:
    """All rules and endpoints, by id in any spelling."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._resources: dict[str, CollectionResource] = {}

    def __iter__(self) -> Iterator[CollectionResource]:
        return iter(list(self._resources.values()))

    def add_rule(
        self, resource_id: str, *, kind: str = "", location: str = "westeurope", workspace: str = ""
    ) -> CollectionResource:
        """Create a rule that sends to the workspace of that resource id."""
        targets = [{"workspaceResourceId": workspace, "name": "workspace"}] if workspace else []
        properties = {
            "immutableId": f"dcr-{secrets.token_hex(16)}",
            "destinations": {"logAnalytics": targets},
        }
        return self._add(CollectionResource(resource_id, _RULES, location, kind, properties))

    def add_endpoint(self, resource_id: str, *, kind: str = "", location: str = "westeurope") -> CollectionResource:
        return self._add(CollectionResource(resource_id, _ENDPOINTS, location, kind))

    def remove(self, resource_id: str) -> None:
        self._resources.pop(resource_id.lower(), None)

    def find(self, resource_id: str) -> CollectionResource | None:
        return self._resources.get(resource_id.lower())

    def _add(self, resource: CollectionResource) -> CollectionResource:
        """Its subscription and group exist from then on."""
        _, _, subscription, _, group, *_ = resource.id.split("/")
        self._machines.add_group(subscription, group, resource.location)
        self._resources[resource.key] = resource
        return resource
