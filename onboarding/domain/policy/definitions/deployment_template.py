"""Reads the VM extension in a definition's deployment template, as far as its expressions can be computed without
Azure.

`variables`, `parameters` and functions of these have values here; `reference`, `listKeys` and the like stay open and
are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from onboarding.domain.json_access import mapping
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

# Values that built-in definitions get from Azure while they deploy, and the app settings that have them here.
_APP_SETTINGS = (
    (re.compile(r"\.(customerId|workspaceId)\]$", re.IGNORECASE), "{OMS_WORKSPACE_ID}"),
    (re.compile(r"\.(primary|secondary)SharedKey\]$", re.IGNORECASE), "{OMS_WORKSPACE_KEY}"),
)
# Functions whose value differs from VM to VM, or from day to day.
_CONTEXT_FUNCTIONS = {"field", "resourcegroup", "subscription", "policy", "requestcontext", "utcnow", "current"}
_NOTHING = Resource({})
_STEPS = 1_000_000  # for all expressions of one template: variables that name variables grow with every level


class TemplateExtension(Struct, frozen=True):
    """The VM extension that a deployment template installs, with its expressions computed."""

    publisher: str
    type: str
    version: str  # empty if the template does not say
    name: str  # of the resource; empty if it cannot be computed
    settings: Mapping[str, Any]
    protected_settings: Mapping[str, Any]
    open: tuple[str, ...]  # notes on the expressions that cannot be computed


def read_template(details: Mapping[str, Any], given: Mapping[str, Any]) -> TemplateExtension | None:
    """The first VM extension in `deployment.properties.template`, nested templates included."""
    properties = mapping(mapping(details.get("deployment")).get("properties"))
    passed = {
        name: computed(mapping(value).get("value"), Names({}, given))
        for name, value in mapping(properties.get("parameters")).items()
    }
    template = mapping(properties.get("template"))
    for resource in _resources(template):
        if str(resource.get("type", "")).lower() == EXTENSIONS.lower():
            return _extension(resource, Names(mapping(template.get("variables")), passed))
    return None


def _resources(template: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    listed = template.get("resources")
    for resource in listed if isinstance(listed, list) else []:
        yield mapping(resource)
        yield from _resources(mapping(mapping(mapping(resource).get("properties")).get("template")))


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a template's expressions may use."""

    variables: Mapping[str, Any]
    parameters: Mapping[str, Any]
    template: bool = False  # there is a template, and not only a resource
    budget: Budget = field(default_factory=lambda: Budget(_STEPS), repr=False, compare=False)


class _Open(Exception):
    """An expression that needs Azure."""


def _extension(resource: Mapping[str, Any], names: Names) -> TemplateExtension:
    properties = mapping(resource.get("properties"))
    still_open: list[str] = []

    def read(key: str, source: Any) -> Any:
        value = computed(source, names)
        if value is NOT_GIVEN:
            app_setting = next((setting for sign, setting in _APP_SETTINGS if sign.search(str(source))), None)
            fix = f"{app_setting} stands for it" if app_setting else "fill it in"
            still_open.append(f"{key}: {source} is not known here; {fix}")
            return app_setting or "FILL-IN"
        return value

    def settings(key: str) -> dict[str, Any]:
        return {name: read(f"{key}.{name}", value) for name, value in mapping(properties.get(key)).items()}

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
    """The extension's own name, without the VM's name, which is not known here; empty if it cannot be computed."""
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


def computed(source: Any, names: Names) -> Any:
    """A JSON value with its expressions computed; `NOT_GIVEN` if one of them needs Azure."""
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
    """The value of an expression of literals, `variables`, `parameters` and functions of these. Raises `_Open`."""
    if isinstance(tree, Literal):
        return tree.value
    if isinstance(tree, Access):
        return _inside(_value(tree.base, names), _value(tree.key, names))
    if tree.name.lower() in _CONTEXT_FUNCTIONS:
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
