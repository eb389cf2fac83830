"""Writes an extension template in Azure Resource Manager's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.domain.reconcile.steps.association_step import API_VERSION
from onboarding.export.extension_template import (
    EXTENSIONS,
    MACHINE_VERSION,
    MACHINES,
    ExtensionTemplate,
    Placement,
)
from onboarding.export.step_resources import AssociationResource
from onboarding.export.template_values import Expression, Parameter

_SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"


def arm_template(template: ExtensionTemplate) -> dict[str, Any] | list[dict[str, Any]]:
    """The extension's resource, or the whole template around it. With an identity or associations, the resource alone
    becomes the list of all resources, or, nested, the part of the VM's resource that has them."""
    extension = _extension(template)
    steps = [*(_association(template, each) for each in template.associations), extension]
    nested = template.placement is Placement.NESTED
    if not template.complete:
        if template.is_alone:
            return extension
        return {**_identity(template), "resources": steps} if nested else [*_existing(template), *steps]
    return {
        "$schema": _SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": arm_parameters(template.parameters),
        "resources": [_machine(template, steps)] if nested else [*_existing(template), *steps],
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
        "dependsOn": [_value(_dependency(template))],
        "properties": _value(template.properties()),
    }
    if template.complete and not nested and not template.identity:
        # The VM is not in this template, and ARM refuses a dependency on a resource that is not.
        del resource["dependsOn"]
    return resource


def _association(template: ExtensionTemplate, association: AssociationResource) -> dict[str, Any]:
    nested = template.placement is Placement.NESTED
    name = association.name.arm if isinstance(association.name, Expression) else f"'{association.name}'"
    machine = template.machine.arm if isinstance(template.machine, Expression) else f"'{template.machine}'"
    below = "'Microsoft.Insights/', " if nested else f"{machine}, '/Microsoft.Insights/', "
    kind = "providers/dataCollectionRuleAssociations"
    resource = {
        "type": kind if nested else f"{MACHINES}/{kind}",
        "name": _value(Expression(f"concat({below}{name})", "")),
        "apiVersion": API_VERSION,
        "dependsOn": [_value(_dependency(template))],
        "properties": _value(association.filled()),
    }
    if template.complete and not nested and not template.identity:
        del resource["dependsOn"]
    return resource


def _identity(template: ExtensionTemplate) -> dict[str, Any]:
    return {"identity": _value(template.identities)} if template.identity else {}


def _existing(template: ExtensionTemplate) -> list[dict[str, Any]]:
    """The VM that is there, with its identities; left out if the policy adds none."""
    if not template.identity:
        return []
    head = {"type": MACHINES, "name": _value(template.machine), "apiVersion": MACHINE_VERSION}
    return [{**head, "location": _value(template.region), **_identity(template)}]


def _machine(template: ExtensionTemplate, inside: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": MACHINES,
        "name": _value(template.machine),
        "apiVersion": MACHINE_VERSION,
        "location": _value(template.region),
        **_identity(template),
        "properties": _value(template.new_machine()),
        "resources": inside,
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


def _dependency(template: ExtensionTemplate) -> Expression:
    """On the VM: by its id in a whole template, which is what checks of templates ask for; a resource alone has the
    name, as in the extension's documentation."""
    machine = template.machine
    name = machine.arm if isinstance(machine, Expression) else f"'{machine}'"
    return Expression(
        f"resourceId('{MACHINES}', {name})" if template.complete else f"concat('{MACHINES}/', {name})", ""
    )


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
