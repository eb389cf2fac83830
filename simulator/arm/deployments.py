"""Template deployments at a resource group: validate, put the resources in the order of their dependencies, report the
result. Virtual machines and their extensions can be deployed; other types are refused by name.

Each resource is put as by its own PUT, so its operation, its event and its failures are the same.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.arm.compute.operations import Operation
from simulator.arm.events import Caller
from simulator.arm.http.errors import ArmError
from simulator.arm.platform import Platform
from simulator.arm.template_expressions import Surroundings, invalid_template

_POLL = 2.0  # simulated seconds between polls of a resource's operation
_TYPES = ("microsoft.compute/virtualmachines", "microsoft.compute/virtualmachines/extensions")
_SECURE = ("securestring", "secureobject")
_NAME = re.compile(r"[-\w.()]{1,64}")

type Put = Callable[[str, Mapping[str, Any], Caller], Operation]


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a template with its expressions evaluated; `path` is type and names below the group."""

    path: str
    body: Mapping[str, Any] = field(repr=False)
    depends_on: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Deployment:
    """One deployment as its GET shows it; `shown` are the parameters without the secure ones."""

    id: str
    name: str
    shown: Mapping[str, Any]
    state: str = "Accepted"
    error: Mapping[str, Any] | None = None
    done: list[str] = field(default_factory=list)
    operation: str = field(default_factory=lambda: str(uuid.uuid4()))

    def body(self) -> dict[str, Any]:
        properties: dict[str, Any] = {"provisioningState": self.state, "mode": "Incremental", "parameters": self.shown}
        properties["outputResources"] = [{"id": resource} for resource in self.done]
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


class Deployments:
    """All deployments; `put` writes one resource by its full id, and raises ARM's refusal."""

    def __init__(self, platform: Platform, put: Put) -> None:
        self._platform = platform
        self._put = put
        self._deployments: dict[str, Deployment] = {}

    def begin(self, scope: tuple[str, str, str], name: str, body: Mapping[str, Any], caller: Caller) -> Deployment:
        """Accept a template; `scope` is subscription, group and the group's location. Raises ArmError if it is bad."""
        subscription, group, location = scope
        if not _NAME.fullmatch(name):
            raise ArmError(400, "InvalidDeploymentName", f"The deployment name '{name}' is invalid.", gateway=True)
        properties = body.get("properties", {})
        template = properties.get("template")
        if not isinstance(template, Mapping) or not isinstance(template.get("resources"), list):
            raise invalid_template("Required property 'template' with its 'resources' is missing")
        declared = template.get("parameters", {})
        surroundings = Surroundings({}, subscription, group, location)
        values = _parameters(declared, properties.get("parameters", {}), surroundings)
        surroundings = Surroundings(values, subscription, group, location)
        resources = _ordered(_flatten(template["resources"], surroundings))
        prefix = f"/subscriptions/{subscription}/resourceGroups/{group}/providers"
        shown = {
            key: {"type": declared[key]["type"], "value": value}
            for key, value in values.items()
            if str(declared[key].get("type", "")).lower() not in _SECURE
        }
        deployment = Deployment(f"{prefix}/Microsoft.Resources/deployments/{name}", name, shown)
        self._deployments[deployment.id.lower()] = deployment
        self._platform.clock.call_later(_POLL, lambda: self._go_on(deployment, prefix, resources, caller))
        return deployment

    def find(self, resource_id: str) -> Deployment:
        found = self._deployments.get(resource_id.lower())
        if found is None:
            name = resource_id.rpartition("/")[2]
            raise ArmError(404, "DeploymentNotFound", f"Deployment '{name}' could not be found.", gateway=True)
        return found

    def _go_on(self, deployment: Deployment, prefix: str, resources: list[Resource], caller: Caller) -> None:
        """Put the next resource, or end."""
        if not resources:
            deployment.state = "Succeeded"
            return
        deployment.state = "Running"
        resource, *rest = resources
        target = f"{prefix}/{resource.path}"
        try:
            operation = self._put(target, resource.body, caller)
        except ArmError as refusal:
            self._fail(deployment, refusal.body["error"])
            return
        self._await(deployment, operation, lambda: self._go_on(deployment, prefix, rest, caller))

    def _await(self, deployment: Deployment, operation: Operation, then: Callable[[], None]) -> None:
        if operation.running:
            self._platform.clock.call_later(_POLL, lambda: self._await(deployment, operation, then))
        elif operation.error is not None:
            self._fail(deployment, operation.error)
        else:
            deployment.done.append(operation.change.resource_id)
            then()

    @staticmethod
    def _fail(deployment: Deployment, detail: Mapping[str, Any]) -> None:
        deployment.state = "Failed"
        deployment.error = {
            "code": "DeploymentFailed",
            "message": "At least one resource deployment operation failed. Please list deployment operations for "
            "details. Please see https://aka.ms/arm-deployment-operations for usage details.",
            "details": [dict(detail)],
        }


def _parameters(declared: Mapping[str, Any], given: Mapping[str, Any], scope: Surroundings) -> dict[str, Any]:
    for name in given:
        if name.lower() not in {key.lower() for key in declared}:
            raise invalid_template(f"The template parameters '{name}' in the parameters file are not valid")
    given_by_name = {name.lower(): value for name, value in given.items()}
    values: dict[str, Any] = {}
    for name, declaration in declared.items():
        if name.lower() in given_by_name:
            values[name] = given_by_name[name.lower()].get("value")
        elif "defaultValue" in declaration:
            values[name] = scope.evaluate(declaration["defaultValue"])
        else:
            raise invalid_template(f"The value for the template parameter '{name}' is not provided")
    return values


def _flatten(resources: list[Any], scope: Surroundings, parent: tuple[str, str] = ("", "")) -> list[Resource]:
    """Every resource with its full type and name; a nested one takes its parent's."""
    found: list[Resource] = []
    for raw in resources:
        type_, name = scope.evaluate(raw.get("type", "")), scope.evaluate(raw.get("name", ""))
        if parent[0]:
            type_, name = f"{parent[0]}/{type_}", f"{parent[1]}/{name}"
        if type_.lower() not in _TYPES:
            raise invalid_template(f"The resource type '{type_}' is not simulated")
        if not raw.get("apiVersion"):
            raise invalid_template(f"The template resource '{name}' has no 'apiVersion'")
        body = {
            key: scope.evaluate(raw[key])
            for key in ("location", "tags", "plan", "identity", "properties")
            if key in raw
        }
        depends_on = tuple(scope.evaluate(item) for item in raw.get("dependsOn", []))
        found.append(Resource(_path(type_, name), body, depends_on))
        found += _flatten(raw.get("resources", []), scope, (type_, name))
    return found


def _path(type_: str, name: str) -> str:
    namespace, *types = type_.split("/")
    names = name.split("/")
    if len(types) != len(names):
        message = (
            f"The template resource '{name}' for type '{type_}' has incorrect segment lengths. A nested resource type "
            "must have identical number of segments as its resource name."
        )
        raise invalid_template(message)
    return f"{namespace}/" + "/".join(f"{part}/{each}" for part, each in zip(types, names, strict=True))


def _ordered(resources: list[Resource]) -> list[Resource]:
    """The resources, each after those that it depends on."""
    by_path = {resource.path.lower(): resource for resource in resources}
    ordered: dict[str, Resource] = {}
    waiting = dict(by_path)
    while waiting:
        ready = [path for path, resource in waiting.items() if _needs(resource, by_path) <= ordered.keys()]
        if not ready:
            raise invalid_template(f"Circular dependency detected on resource: '{next(iter(waiting.values())).path}'")
        ordered |= {path: waiting.pop(path) for path in ready}
    return list(ordered.values())


def _needs(resource: Resource, known: Mapping[str, Resource]) -> set[str]:
    needed = {_plain(name, known) for name in resource.depends_on}
    for name in sorted(needed):
        if name not in known:
            message = f"The resource '{name}' is not defined in the template. Please see https://aka.ms/arm-syntax"
            raise invalid_template(message)
    return needed


def _plain(name: str, known: Mapping[str, Resource]) -> str:
    """A dependency as a path below the group, from a full id, from `type/name`, or from a name alone."""
    path = name.lower().rpartition("/providers/")[2]
    named = [key for key in known if key.rpartition("/")[2] == path]
    return named[0] if len(named) == 1 else path
