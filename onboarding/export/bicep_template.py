"""Writes an extension template in Bicep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from onboarding.domain.reconcile.steps.association_step import API_VERSION
from onboarding.export.extension_template import (
    EXTENSIONS,
    MACHINE_VERSION,
    MACHINES,
    ExtensionTemplate,
    Placement,
)
from onboarding.export.step_resources import ASSOCIATIONS
from onboarding.export.template_values import Expression, Parameter, bicep_text

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_VM = Expression("", "vm")


def bicep_template(template: ExtensionTemplate) -> str:
    """The VM's identity, the associations and the extension: at the root with the VM, nested in it, or nested in a new
    VM. Each form compiles."""
    blocks = [*(_parameter(parameter) for parameter in template.parameters), *_resources(template)]
    return "\n\n".join(blocks) + "\n"


def _resources(template: ExtensionTemplate) -> Iterator[str]:
    name = {"name": template.entry.resource_name}
    body = {"location": template.region, "properties": template.properties()}
    agent = template.entry.api_version
    if template.placement is Placement.ROOT:
        yield _machine(template)
        yield from _associations(template)
        yield _resource("agent", EXTENSIONS, agent, {"parent": _VM, **name, **body})
        return
    inside = _resource("agent", "extensions", agent, {**name, **body}).splitlines()
    whole = _machine(template).removesuffix("}")
    yield "\n".join([whole.rstrip("\n"), *(f"  {line}" for line in inside), "}"])
    yield from _associations(template)


def _machine(template: ExtensionTemplate) -> str:
    """The VM: a new one in a whole nested template, else the one that is there."""
    identity = {"identity": template.identities} if template.identity else {}
    place: dict[str, Any] = {"name": template.machine}
    if template.complete and template.placement is Placement.NESTED:
        place |= {"location": template.region, **identity, "properties": template.new_machine()}
    elif identity:
        place |= {"location": template.region, **identity}
    return _resource("vm", MACHINES, MACHINE_VERSION, place, existing=len(place) == 1)


def _associations(template: ExtensionTemplate) -> Iterator[str]:
    for number, each in enumerate(template.associations, 1):
        symbol = f"association{number if number > 1 else ''}"
        body = {"name": each.name, "scope": _VM, "properties": each.filled()}
        yield _resource(symbol, ASSOCIATIONS, API_VERSION, body)


def _resource(symbol: str, type_: str, version: str, body: Mapping[str, Any], *, existing: bool = False) -> str:
    return f"resource {symbol} '{type_}@{version}'{' existing' if existing else ''} = {_value(body)}"


def _parameter(parameter: Parameter) -> str:
    lines = [f"@description({_value(parameter.description)})", *(["@secure()"] if parameter.secure else [])]
    default = "" if parameter.default is None else f" = {_value(parameter.default)}"
    return "\n".join([*lines, f"param {parameter.name} {parameter.type}{default}"])


def _value(value: Any, indent: str = "") -> str:
    match value:
        case Expression(bicep=bicep):
            return bicep
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case int():
            return str(value)
        case Mapping():
            lines = (f"{indent}  {_key(key)}: {_value(item, f'{indent}  ')}" for key, item in value.items())
            return _enclosed("{", lines, "}", indent)
        case list() | tuple():
            return _enclosed("[", (f"{indent}  {_value(item, f'{indent}  ')}" for item in value), "]", indent)
        case _:
            return bicep_text(str(value))


def _enclosed(event_key: str, lines: Iterator[str], closing: str, indent: str) -> str:
    inside = "\n".join(lines)
    return f"{event_key}\n{inside}\n{indent}{closing}" if inside else f"{event_key}{closing}"


def _key(key: object) -> str:
    text = str(key)
    return text if _IDENTIFIER.fullmatch(text) else _value(text)
