"""The resources of a template: its parameters and expressions evaluated, in the order of their dependencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.arm.templates.template_expressions import Surroundings, invalid_template

_VM = "microsoft.compute/virtualmachines"
_TYPES = (_VM, f"{_VM}/extensions", f"{_VM}/providers/datacollectionruleassociations")
_SECURE = ("securestring", "secureobject")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a template with its expressions evaluated; `path` is type and names below the group."""

    path: str
    body: Mapping[str, Any] = field(repr=False)
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """What a deployment puts, in order, and its parameters without the secure ones."""

    resources: tuple[Resource, ...]
    shown: Mapping[str, Any]


def read_template(properties: Mapping[str, Any], scope: tuple[str, str, str]) -> Template:
    """The template in a deployment's properties; `scope` is subscription, group and the group's location. Raises
    ARM's refusal of a bad one."""
    template = properties.get("template")
    if not isinstance(template, Mapping) or not isinstance(template.get("resources"), list):
        raise invalid_template("Required property 'template' with its 'resources' is missing")
    declared = template.get("parameters", {})
    values = _parameters(declared, properties.get("parameters") or {}, Surroundings({}, *scope))
    resources = _ordered(_flatten(template["resources"], Surroundings(values, *scope)))
    shown = {
        key: {"type": _shown_type(declared[key]), "value": value}
        for key, value in values.items()
        if _shown_type(declared[key]).lower() not in _SECURE
    }
    return Template(tuple(resources), shown)


def _shown_type(declaration: Mapping[str, Any]) -> str:
    """As answers spell it: with a capital."""
    type_ = str(declaration.get("type", ""))
    return type_[:1].upper() + type_[1:]


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
