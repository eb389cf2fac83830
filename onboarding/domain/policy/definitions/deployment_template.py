"""The VM extension in a definition's deployment template, as far as its expressions can be worked out without Azure.

`variables`, `parameters` and functions of these have values here; `reference`, `listKeys` and their like are left open,
and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from onboarding.domain.policy.conditions import NOT_GIVEN, ConditionError, Resource, Undecided, compile_template
from onboarding.domain.policy.conditions.expression_syntax import (
    Access,
    Call,
    Literal,
    SyntaxFault,
    is_expression,
    parse,
)
from onboarding.domain.policy.conditions.limits import Budget
from onboarding.domain.policy.conditions.resource import EXTENSIONS
from onboarding.domain.policy.conditions.values import MISSING, property_of

# What built-ins ask Azure for while they deploy, and the app setting that holds it here.
_ASKED = (
    (re.compile(r"\.(customerId|workspaceId)\]$", re.IGNORECASE), "{OMS_WORKSPACE_ID}"),
    (re.compile(r"\.(primary|secondary)SharedKey\]$", re.IGNORECASE), "{OMS_WORKSPACE_KEY}"),
)
# Functions whose value differs from VM to VM, or from day to day.
_LOOKING_AROUND = {"field", "resourcegroup", "subscription", "policy", "requestcontext", "utcnow", "current"}
_NOTHING = Resource({})
_STEPS = 1_000_000  # for all expressions of one template: variables that name variables grow with every level


class TemplateExtension(Struct, frozen=True):
    """The VM extension that a deployment template puts, with its expressions worked out."""

    publisher: str
    type: str
    version: str
    name: str
    settings: Mapping[str, Any]
    protected_settings: Mapping[str, Any]
    open: tuple[str, ...]


def read_template(details: Mapping[str, Any], given: Mapping[str, Any]) -> TemplateExtension | None:
    """The first VM extension in `deployment.properties.template`, nested templates included."""
    properties = _mapping(_mapping(details.get("deployment")).get("properties"))
    passed = {
        name: worked_out(_mapping(value).get("value"), Names({}, given))
        for name, value in _mapping(properties.get("parameters")).items()
    }
    template = _mapping(properties.get("template"))
    for resource in _resources(template):
        if str(resource.get("type", "")).lower() == EXTENSIONS.lower():
            return _extension(resource, Names(_mapping(template.get("variables")), passed))
    return None


def _resources(template: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    listed = template.get("resources")
    for resource in listed if isinstance(listed, list) else []:
        yield _mapping(resource)
        yield from _resources(_mapping(_mapping(_mapping(resource).get("properties")).get("template")))


@dataclass(frozen=True, slots=True)
class Names:
    """What a template's expressions may name. `template`: there is one, and not a resource alone."""

    variables: Mapping[str, Any]
    parameters: Mapping[str, Any]
    template: bool = False
    budget: Budget = field(default_factory=lambda: Budget(_STEPS), repr=False, compare=False)


class _Open(Exception):
    """An expression that needs Azure."""


def _extension(resource: Mapping[str, Any], names: Names) -> TemplateExtension:
    properties = _mapping(resource.get("properties"))
    still_open: list[str] = []

    def read(key: str, source: Any) -> Any:
        value = worked_out(source, names)
        if value is NOT_GIVEN:
            asked = next((setting for sign, setting in _ASKED if sign.search(str(source))), None)
            still_open.append(
                f"{key}: {source} is not known here; {f'{asked} stands for it' if asked else 'fill it in'}"
            )
            return asked or "FILL-IN"
        return value

    def settings(key: str) -> dict[str, Any]:
        return {name: read(f"{key}.{name}", value) for name, value in _mapping(properties.get(key)).items()}

    return TemplateExtension(
        publisher=str(read("publisher", properties.get("publisher"))),
        type=str(read("type", properties.get("type"))),
        version=str(read("version", properties.get("typeHandlerVersion", ""))),
        name=_last_segment(resource.get("name"), names),
        settings=settings("settings"),
        protected_settings=settings("protectedSettings"),
        open=tuple(still_open),
    )


def _last_segment(source: Any, names: Names) -> str:
    """The extension's own name; the VM's in front of it is not known here."""
    try:
        tree = parse(source) if isinstance(source, str) and is_expression(source) else Literal(str(source))
    except SyntaxFault:
        return ""
    if isinstance(tree, Call) and tree.name.lower() == "concat" and tree.arguments:
        tail = tree.arguments[-1]
        try:
            tree = Literal(str(_value(tail, names)))
        except _Open:
            return ""
    return str(tree.value).rpartition("/")[2] if isinstance(tree, Literal) else ""


def worked_out(source: Any, names: Names) -> Any:
    """A JSON value with its expressions worked out; `NOT_GIVEN` when one of them needs Azure."""
    try:
        return _resolved(source, names)
    except (_Open, SyntaxFault, RecursionError, Undecided):
        return NOT_GIVEN


def _resolved(source: Any, names: Names) -> Any:
    names.budget.spend(1)
    if isinstance(source, str):
        return _value(parse(source), names) if is_expression(source) else source
    if isinstance(source, Mapping):
        return {key: _resolved(value, names) for key, value in source.items()}
    return [_resolved(item, names) for item in source] if isinstance(source, list) else source


def _value(tree: Call | Access | Literal, names: Names) -> Any:
    """Literals, `variables`, `parameters`, functions of these and what lies in them."""
    if isinstance(tree, Literal):
        return tree.value
    if isinstance(tree, Access):
        return _inside(_value(tree.base, names), _value(tree.key, names))
    if tree.name.lower() in _LOOKING_AROUND:
        raise _Open
    arguments = [_value(argument, names) for argument in tree.arguments]
    if tree.name.lower() in ("variables", "parameters"):
        values = names.variables if tree.name.lower() == "variables" else names.parameters
        value = next((each for name, each in values.items() if name.lower() == str(arguments[0]).lower()), NOT_GIVEN)
        if value is NOT_GIVEN:
            raise _Open
        return _resolved(value, names) if tree.name.lower() == "variables" else value
    written = ", ".join(f"parameters('a{index}')" for index in range(len(arguments)))
    given = {f"a{index}": argument for index, argument in enumerate(arguments)}
    try:
        return compile_template(f"[{tree.name}({written})]", given, "template").of(_NOTHING)
    except (ConditionError, Undecided):
        raise _Open from None


def _inside(holder: Any, key: Any) -> Any:
    if isinstance(holder, list) and isinstance(key, int) and 0 <= key < len(holder):
        return holder[key]
    found = property_of(holder, key) if isinstance(key, str) else MISSING
    if found is MISSING:
        raise _Open
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
