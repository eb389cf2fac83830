"""Reads what a definition's deployment template writes: the VM extension, the identity or the association, as far as
its expressions can be computed without Azure.

`variables`, `parameters` and functions of these have values here, and what is said of the machine becomes one of our
templates such as `{machine.id}`; `reference`, `listKeys` and the like stay open and are named.
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

VM_TYPE = "Microsoft.Compute/virtualMachines"

# Values that built-in definitions get from Azure while they deploy, and the app settings that have them here.
_APP_SETTINGS = (
    (re.compile(r"\.(customerId|workspaceId)\]$", re.IGNORECASE), "{OMS_WORKSPACE_ID}"),
    (re.compile(r"\.(primary|secondary)SharedKey\]$", re.IGNORECASE), "{OMS_WORKSPACE_KEY}"),
)
# Functions whose value differs from VM to VM, or from day to day.
_CONTEXT_FUNCTIONS = {"field", "resourcegroup", "subscription", "policy", "requestcontext", "utcnow", "current"}
# What templates say of the machine, and our words for it. The two that a policy has no template for may only stand in
# the machine's id.
_OF_THE_MACHINE = {"name": "{machine.name}", "id": "{machine.id}", "location": "{machine.location}", "type": VM_TYPE}
_SUBSCRIPTION, _GROUP = "\0subscription\0", "\0group\0"
_MACHINE_ID = re.compile(
    f"/subscriptions/{_SUBSCRIPTION}/resourceGroups/{_GROUP}/providers/{VM_TYPE}/{{machine.name}}", re.IGNORECASE
)
_IDENTITY = re.compile(
    r"/providers/microsoft\.managedidentity/userassignedidentities/|userAssigned\w*Identit|^\{\w*IDENTIT\w*\}$",
    re.IGNORECASE,
)
_OF_AN_IDENTITY = "managedidentity"  # the key of settings that say which identity an agent takes
_NOTHING = Resource({})
_NO_VARIABLES: Mapping[str, Any] = {}
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
    enable_automatic_upgrade: bool | None = None  # None if the template does not say
    auto_upgrade_minor_version: bool = True


class TemplateResource(Struct, frozen=True):
    """One resource of a template, with the names that its expressions may use."""

    body: Mapping[str, Any]
    names: Names

    @property
    def type(self) -> str:
        return str(self.body.get("type", "")).lower()

    def value(self, source: Any) -> Any:
        """A value in it, computed; `NOT_GIVEN` if it needs Azure."""
        return computed(source, self.names)


def read_template(
    details: Mapping[str, Any], given: Mapping[str, Any], *, settings_for_open: bool = False
) -> TemplateExtension | None:
    """The first VM extension in `deployment.properties.template`, nested templates included. With `settings_for_open`
    a value of a setting that is not known here becomes an app setting with the setting's name."""
    for resource in template_resources(details, given):
        if resource.type == EXTENSIONS.lower():
            return _extension(resource.body, resource.names, settings_for_open)
    return None


def template_resources(details: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[TemplateResource]:
    """The resources that the template writes for a VM; those whose condition is false are left out."""
    properties = mapping(mapping(details.get("deployment")).get("properties"))
    outer = Names(_NO_VARIABLES, given, machine=True)
    yield from _resources(mapping(properties.get("template")), _passed(properties, outer), outer)


def _passed(properties: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The values that a deployment passes to its template."""
    return {
        name: computed(mapping(value).get("value"), names)
        for name, value in mapping(properties.get("parameters")).items()
    }


def _resources(template: Mapping[str, Any], passed: Mapping[str, Any], outer: Names) -> Iterator[TemplateResource]:
    defaults = {
        name: computed(mapping(spec)["defaultValue"], outer)
        for name, spec in mapping(template.get("parameters")).items()
        if "defaultValue" in mapping(spec)
    }
    variables = {**outer.variables, **mapping(template.get("variables"))}
    known = {**defaults, **passed}
    names = Names(variables, known if outer.variables is _NO_VARIABLES else {**outer.parameters, **known}, machine=True)
    listed = template.get("resources")
    for resource in map(mapping, listed if isinstance(listed, list) else []):
        if "condition" in resource and computed(resource["condition"], names) is False:
            continue
        yield TemplateResource(resource, names)
        properties = mapping(resource.get("properties"))
        yield from _resources(mapping(properties.get("template")), _passed(properties, names), names)


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a template's expressions may use."""

    variables: Mapping[str, Any]
    parameters: Mapping[str, Any]
    template: bool = False  # there is a template, and not only a resource
    budget: Budget = field(default_factory=lambda: Budget(_STEPS), repr=False, compare=False)
    machine: bool = False  # what is said of the machine becomes one of our templates


class _Open(Exception):
    """An expression that needs Azure."""


def _extension(resource: Mapping[str, Any], names: Names, settings_for_open: bool) -> TemplateExtension:
    properties = {key.lower(): value for key, value in mapping(resource.get("properties")).items()}
    still_open: list[str] = []

    def read(key: str, source: Any) -> Any:
        if isinstance(source, Mapping):
            return {name: read(f"{key}.{name}", value) for name, value in source.items()}
        value = computed(source, names)
        if isinstance(value, str) and _is_of_an_identity(key, value):
            return "{identity.id}"
        if value is not NOT_GIVEN:
            return value
        if _is_of_an_identity(key, _sources(source, names)):
            return "{identity.id}"
        known = next((setting for sign, setting in _APP_SETTINGS if sign.search(str(source))), None)
        if known is None and settings_for_open and key.partition(".")[2]:
            known = f"{{{setting_name(_last_property(source) or key.rpartition('.')[2])}}}"
        fix = f"{known} stands for it" if known else "fill it in"
        still_open.append(f"{key}: {source} is not known here; {fix}")
        return known or "FILL-IN"

    automatic, minor = (
        computed(properties.get("enableautomaticupgrade"), names),
        properties.get("autoupgrademinorversion"),
    )
    return TemplateExtension(
        publisher=str(read("publisher", properties.get("publisher"))),
        type=str(read("type", properties.get("type"))),
        version=str(read("version", properties.get("typehandlerversion", ""))),
        name=_last_segment(resource.get("name"), names),
        settings=read("settings", mapping(properties.get("settings"))),
        protected_settings=read("protectedSettings", mapping(properties.get("protectedsettings"))),
        open=tuple(still_open),
        enable_automatic_upgrade=automatic if isinstance(automatic, bool) else None,
        auto_upgrade_minor_version=computed(minor, names) is not False,
    )


def setting_name(name: str) -> str:
    """The name of the app setting for a parameter or a setting: `dcrResourceId` is `DCR_RESOURCE_ID`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+", "_", name)
    return re.sub(r"^(?=[0-9])|_+", "_", words).strip("_").upper() or "VALUE"


def _last_property(source: Any) -> str:
    """The property that an expression ends with: `[reference(…).keyOfLinux]` and `….keyOfWindows` are two values."""
    found = re.search(r"\.([A-Za-z]\w*)\]$", source) if isinstance(source, str) else None
    return found[1] if found else ""


def _is_of_an_identity(key: str, text: str) -> bool:
    """Whether a setting says which user-assigned identity the agent takes."""
    return f".{_OF_AN_IDENTITY}." in key.lower() and bool(_IDENTITY.search(text))


def _sources(source: Any, names: Names) -> str:
    """An expression, with what its parameters and variables are made of."""
    text = str(source)
    parts = [text]
    for name, value in names.variables.items():
        if f"'{name}'".lower() in text.lower():
            parts.append(str(value))
    for name in names.parameters:
        if f"'{name}'".lower() in text.lower():
            parts.append(name)
    return " ".join(parts)


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
        return _settled(_resolved(source, names)) if names.machine else _resolved(source, names)
    except (_Open, SyntaxFault, RecursionError, Undecided):
        return NOT_GIVEN


def _settled(value: Any) -> Any:
    """The value with the machine's id in the place of its parts. Raises `_Open` where a part stands elsewhere."""
    if isinstance(value, str):
        text = _MACHINE_ID.sub("{machine.id}", value)
        if _SUBSCRIPTION in text or _GROUP in text:
            raise _Open
        return text
    if isinstance(value, Mapping):
        return {key: _settled(each) for key, each in value.items()}
    return [_settled(each) for each in value] if isinstance(value, list) else value


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
    if names.machine and (own := _of_the_machine(tree)):
        return own
    if isinstance(tree, Access):
        return _inside(_value(tree.base, names), _value(tree.key, names))
    if tree.name.lower() in _CONTEXT_FUNCTIONS:
        raise _Open
    if tree.name.lower() == "if" and len(tree.arguments) == 3:  # computes only the value that it takes, as ARM does
        condition, *both = tree.arguments
        if isinstance(chosen := _value(condition, names), bool):
            return _value(both[0 if chosen else 1], names)
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


def _of_the_machine(tree: Call | Access | Literal) -> str:
    """Our word for what an expression says of the machine; empty for another expression."""
    if isinstance(tree, Call) and tree.name.lower() == "field" and isinstance(tree.arguments[0], Literal):
        return _OF_THE_MACHINE.get(str(tree.arguments[0].value).lower(), "")
    if isinstance(tree, Access) and isinstance(tree.base, Call) and isinstance(tree.key, Literal):
        part = (tree.base.name.lower(), str(tree.key.value).lower())
        return {("subscription", "subscriptionid"): _SUBSCRIPTION, ("resourcegroup", "name"): _GROUP}.get(part, "")
    return ""


def _inside(holder: Any, key: Any) -> Any:
    if isinstance(holder, list) and isinstance(key, int) and 0 <= key < len(holder):
        return holder[key]
    found = property_of(holder, key) if isinstance(key, str) else MISSING
    if found is MISSING:
        raise _Open
    return found
