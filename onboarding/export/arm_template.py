"""Writes an extension template in Azure Resource Manager's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.export.extension_template import (
    EXTENSIONS,
    MACHINE_VERSION,
    MACHINES,
    Expression,
    ExtensionTemplate,
    Parameter,
    Placement,
)

_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"


def arm_template(template: ExtensionTemplate) -> dict[str, Any]:
    """The extension's resource, or the whole template around it."""
    extension = _extension(template)
    if not template.complete:
        return extension
    return {
        "$schema": _SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": arm_parameters(template.parameters),
        "resources": [extension if template.placement is Placement.ROOT else _machine(template, extension)],
    }


def arm_parameters(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """A template's `parameters` object."""
    return {parameter.name: _parameter(parameter) for parameter in parameters}


def _extension(template: ExtensionTemplate) -> dict[str, Any]:
    nested = template.placement is Placement.NESTED
    resource = {
        "type": "extensions" if nested else EXTENSIONS,
        "name": template.entry.resource_name if nested else _value(_full_name(template)),
        "apiVersion": template.entry.api_version,
        "location": _value(template.region),
        "dependsOn": [_value(_dependency(template.machine))],
        "properties": _value(template.properties()),
    }
    if template.complete and not nested:
        # The VM is not in this template, and ARM refuses a dependency on a resource that is not.
        del resource["dependsOn"]
    return resource


def _machine(template: ExtensionTemplate, extension: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": MACHINES,
        "name": _value(template.machine),
        "apiVersion": MACHINE_VERSION,
        "location": _value(template.region),
        "properties": _value(template.new_machine()),
        "resources": [extension],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described = {"metadata": {"description": parameter.description}}
    secure = {"string": "secureString", "object": "secureObject"} if parameter.secure else {}
    kind = {"type": secure.get(parameter.type, parameter.type)}
    if parameter.default is None:
        return kind | described
    return kind | {"defaultValue": _value(parameter.default)} | described


def _full_name(template: ExtensionTemplate) -> str | Expression:
    machine, name = template.machine, template.entry.resource_name
    if isinstance(machine, str):
        return f"{machine}/{name}"
    return Expression(f"concat({machine.arm}, '/{name}')", "")


def _dependency(machine: str | Expression) -> Expression:
    name = machine.arm if isinstance(machine, Expression) else f"'{machine}'"
    return Expression(f"concat('{MACHINES}/', {name})", "")


def _value(value: Any) -> Any:
    """The value with its expressions in brackets; a text that begins with a bracket gets a second one."""
    match value:
        case Expression(arm=arm):
            return f"[{arm}]"
        case str() if value.startswith("["):
            return f"[{value}"
        case Mapping():
            return {key: _value(item) for key, item in value.items()}
        case list() | tuple():
            return [_value(item) for item in value]
        case _:
            return value
