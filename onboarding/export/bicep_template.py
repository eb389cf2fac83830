"""Writes an extension template in Bicep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from onboarding.export.extension_template import (
    EXTENSIONS,
    MACHINE_VERSION,
    MACHINES,
    Expression,
    ExtensionTemplate,
    Parameter,
    Placement,
    bicep_text,
)

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_VM = Expression("", "vm")


def bicep_template(template: ExtensionTemplate) -> str:
    """The extension as a resource: at the root with its VM, nested alone, or nested in a new VM."""
    blocks = [*(_parameter(parameter) for parameter in template.parameters), *_resources(template)]
    return "\n\n".join(blocks) + "\n"


def _resources(template: ExtensionTemplate) -> Iterator[str]:
    name = {"name": template.entry.resource_name}
    body = {"location": template.region, "properties": template.properties()}
    if template.placement is Placement.ROOT:
        yield _resource("vm", MACHINES, MACHINE_VERSION, {"name": template.machine}, existing=True)
        yield _resource("agent", EXTENSIONS, template.entry.api_version, {"parent": _VM, **name, **body})
        return
    extension = _resource("agent", "extensions", template.entry.api_version, {**name, **body})
    if not template.complete:
        yield extension
        return
    machine = {"name": template.machine, "location": template.region, "properties": template.new_machine()}
    whole = _resource("vm", MACHINES, MACHINE_VERSION, machine)
    inside = "\n".join(f"  {line}" for line in extension.splitlines())
    yield f"{whole.removesuffix('}')}\n{inside}\n}}"


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
