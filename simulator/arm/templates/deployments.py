"""Template deployments at a resource group: validate, put the resources in the order of their dependencies, report the
result. Virtual machines, their extensions and their associations can be deployed; other types are refused by name.

Each resource is put as by its own PUT, so its operation, its event and its failures are the same.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.arm.compute.operations import Operation
from simulator.arm.events import Caller
from simulator.arm.http.errors import ArmError
from simulator.arm.platform import Platform
from simulator.arm.templates.template_resources import Resource, Template, read_template

_POLL = 2.0  # simulated seconds between polls of a resource's operation
_NAME = re.compile(r"[-\w.()]{1,64}")

type Put = Callable[[str, Mapping[str, Any], Caller], Operation | None]


@dataclass(slots=True)
class Step:
    """One resource of a deployment: how far it is, and the error that ended it."""

    resource_id: str
    at: datetime
    state: str = "Running"
    error: Mapping[str, Any] | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16].upper())


@dataclass(slots=True, eq=False)
class Deployment:
    """One deployment as its GET shows it."""

    id: str
    template: Template
    correlation: str
    began: datetime
    ended: datetime | None = None
    state: str = "Accepted"
    error: Mapping[str, Any] | None = None
    steps: list[Step] = field(default_factory=list)
    operation: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def name(self) -> str:
        return self.id.rpartition("/")[2]

    @property
    def key(self) -> str:
        return self.id.lower()

    def body(self) -> dict[str, Any]:
        properties: dict[str, Any] = {
            "mode": "Incremental",
            "parameters": self.template.shown,
            "provisioningState": self.state,
            "timestamp": (self.ended or self.began).isoformat(),
            "duration": _duration(self.began, self.ended),
            "correlationId": self.correlation,
            "providers": _providers(self.template.resources),
            "dependencies": [],
            "outputResources": [{"id": step.resource_id} for step in self.steps if step.state == "Succeeded"],
        }
        if self.error is not None:
            properties["error"] = dict(self.error)
        return {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Resources/deployments",
            "properties": properties,
        }

    def status(self) -> dict[str, Any]:
        """The answer to a poll."""
        return {"status": self.state} | ({"error": dict(self.error)} if self.error is not None else {})

    def operations(self) -> list[dict[str, Any]]:
        """Its resources, as the list of its operations shows them."""
        return [self._operation(step) for step in self.steps]

    def _operation(self, step: Step) -> dict[str, Any]:
        path = step.resource_id.partition("/providers/")[2]
        properties: dict[str, Any] = {
            "provisioningOperation": "Create",
            "provisioningState": step.state,
            "timestamp": step.at.isoformat(),
            "trackingId": str(uuid.uuid5(uuid.UUID(self.operation), step.id)),
            "statusCode": {"Succeeded": "OK", "Failed": "Conflict"}.get(step.state, "Accepted"),
            "targetResource": {
                "id": step.resource_id,
                "resourceType": _type_of(path),
                "resourceName": "/".join(path.split("/")[2::2]),
            },
        }
        if step.error is not None:
            properties["statusMessage"] = {"error": dict(step.error)}
        return {"id": f"{self.id}/operations/{step.id}", "operationId": step.id, "properties": properties}


class Deployments:
    """All deployments; `put` writes one resource by its full id, and raises ARM's refusal. It returns no operation
    where the write is done at once."""

    def __init__(self, platform: Platform, put: Put) -> None:
        self._platform = platform
        self._put = put
        self._deployments: dict[str, Deployment] = {}

    def validate(self, scope: tuple[str, str, str], name: str, body: Mapping[str, Any], caller: Caller) -> Deployment:
        """The deployment that this body would be; `scope` is subscription, group and the group's location. Raises
        ArmError if it is bad."""
        subscription, group, _ = scope
        if not _NAME.fullmatch(name):
            raise ArmError(400, "InvalidDeploymentName", f"The deployment name '{name}' is invalid.", gateway=True)
        template = read_template(body.get("properties", {}), scope)
        prefix = f"/subscriptions/{subscription}/resourceGroups/{group}/providers"
        resource_id = f"{prefix}/Microsoft.Resources/deployments/{name}"
        return Deployment(resource_id, template, caller.correlation, self._platform.clock.now())

    def begin(self, scope: tuple[str, str, str], name: str, body: Mapping[str, Any], caller: Caller) -> Deployment:
        """Accept a template, like `validate`."""
        deployment = self.validate(scope, name, body, caller)
        self._deployments[deployment.key] = deployment
        prefix = deployment.id.partition("/Microsoft.Resources/")[0]
        resources = deployment.template.resources
        self._platform.clock.call_later(_POLL, lambda: self._go_on(deployment, prefix, resources, caller))
        return deployment

    def listed(self, group: str) -> list[Deployment]:
        """The deployments of a group, which its id names, in the order of their names."""
        found = (each for each in self._deployments.values() if each.key.startswith(f"{group.lower()}/"))
        return sorted(found, key=lambda deployment: deployment.key)

    def find(self, resource_id: str) -> Deployment:
        found = self._deployments.get(resource_id.lower())
        if found is None:
            name = resource_id.rpartition("/")[2]
            raise ArmError(404, "DeploymentNotFound", f"Deployment '{name}' could not be found.", gateway=True)
        return found

    def _go_on(self, deployment: Deployment, prefix: str, resources: Sequence[Resource], caller: Caller) -> None:
        """Put the next resource, or end."""
        now = self._platform.clock.now()
        if not resources:
            deployment.state, deployment.ended = "Succeeded", now
            return
        deployment.state = "Running"
        resource, *rest = resources
        step = Step(f"{prefix}/{resource.path}", now)
        deployment.steps.append(step)
        try:
            operation = self._put(step.resource_id, resource.body, caller)
        except ArmError as refusal:
            self._fail(deployment, refusal.body["error"])
            return
        self._await(deployment, operation, lambda: self._go_on(deployment, prefix, rest, caller))

    def _await(self, deployment: Deployment, operation: Operation | None, then: Callable[[], None]) -> None:
        if operation is not None and operation.running:
            self._platform.clock.call_later(_POLL, lambda: self._await(deployment, operation, then))
        elif operation is not None and operation.error is not None:
            self._fail(deployment, operation.error)
        else:
            deployment.steps[-1].state = "Succeeded"
            then()

    def _fail(self, deployment: Deployment, detail: Mapping[str, Any]) -> None:
        deployment.state, deployment.ended = "Failed", self._platform.clock.now()
        deployment.steps[-1].state, deployment.steps[-1].error = "Failed", detail
        deployment.error = {
            "code": "DeploymentFailed",
            "message": "At least one resource deployment operation failed. Please list deployment operations for "
            "details. Please see https://aka.ms/arm-deployment-operations for usage details.",
            "details": [dict(detail)],
        }


def _providers(resources: Sequence[Resource]) -> list[dict[str, Any]]:
    """The types of the template's resources, by provider."""
    found: dict[str, dict[str, str]] = {}
    for resource in resources:
        namespace, _, type_ = _type_of(resource.path).partition("/")
        found.setdefault(namespace, {}).setdefault(type_, str(resource.body.get("location", "")))
    return [
        {
            "namespace": namespace,
            "resourceTypes": [{"resourceType": name, "locations": [place or None]} for name, place in types.items()],
        }
        for namespace, types in found.items()
    ]


def _type_of(path: str) -> str:
    """The full type of a resource, from its path below `providers/`; of one below another, as templates spell it."""
    namespace, *rest = path.split("/")
    return "/".join([namespace, *rest[::2]])


def _duration(began: datetime, ended: datetime | None) -> str:
    """In the form of ISO 8601."""
    return f"PT{(ended - began).total_seconds():.7f}S" if ended else "PT0S"
