"""Converts Azure Policy definitions from all the forms in which people keep them to one normal form.

- what Azure answers, one or a list: REST (`value`), Resource Graph (`data`), `az … -o json`, Get-AzPolicyDefinition
  (capitals; `Parameter` for `parameters`), an SDK's or Terraform's names with underscores, a rule as a text of JSON;
- a rule alone (`if`, `then`);
- an ARM resource (`apiVersion`), and the ARM template around it, nested templates and Bicep's texts in `variables`
  included. These are read as ARM does: it takes one bracket off `[[…]` and computes the template's own expressions;
- a deployment's parameter file that has a definition as a value.

Anything else, and a definition that PowerShell cut off, is a `ConditionError` that says what it is and what to give.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, ValuesView
from typing import Any, Final

from msgspec import Struct

from onboarding.domain.errors import as_written
from onboarding.domain.policy.conditions import NOT_GIVEN, ConditionError
from onboarding.domain.policy.conditions.errors import TOO_DEEP
from onboarding.domain.policy.conditions.expression_syntax import (
    Access,
    Call,
    Expression,
    SyntaxFault,
    is_expression,
    parse,
)
from onboarding.domain.policy.conditions.external_values import places
from onboarding.domain.policy.conditions.functions.plain import FUNCTIONS
from onboarding.domain.policy.conditions.limits import Budget
from onboarding.domain.policy.definitions.deployment_template import Names, computed

_STEPS: Final = 1_000_000  # for all expressions of one file's templates
_MAX_DEPTH: Final = 100  # of a text of JSON within the file, as of the file itself
_CONTENT: Final = ("policyRule", "policyDefinitions")
_AUTHORIZATION: Final = "microsoft.authorization/"
_DEFINITIONS: Final = ("policydefinitions", "policysetdefinitions")
_FORMS: Final = (
    "give a definition (with 'policyRule'), a rule ('if', 'then'), a list of definitions, or an ARM template with them"
)
_DEPLOYED: Final = "give the deployed definition: az policy definition show --name NAME"
# What ConvertTo-Json writes for objects that lie deeper than its -Depth.
_CUT: Final = re.compile(r"@\{.*\}|System\.(Object\[\]|Collections\..+)", re.DOTALL)
# Parts that decide nothing: unknown expressions in them do no harm, or are named when the definition is imported.
_UNDECISIVE_KEYS: Final = frozenset(
    ("metadata", "displayname", "description", "version", "policytype", "mode", "deployment", "roledefinitionids")
)


class Kept(Struct, frozen=True):
    """One definition or initiative in a file."""

    whole: Mapping[str, Any]  # in the normal form, with its keys spelled as documented
    place: str  # in the file: empty for the file itself, or `resources[0]`, `value[1]`, …

    @property
    def properties(self) -> Mapping[str, Any]:
        inner = self.whole.get("properties")
        return inner if isinstance(inner, Mapping) else self.whole

    @property
    def properties_place(self) -> str:
        return self.place if self.properties is self.whole else under(self.place, "properties")

    @property
    def is_initiative(self) -> bool:
        return "policyDefinitions" in self.properties

    @property
    def name(self) -> str:
        return next((value for key in ("name", "id") if (value := self.whole.get(key)) and isinstance(value, str)), "")

    @property
    def missing_parameters(self) -> tuple[str, ...]:
        """The parameters that its rule names if it defines none at all: then another file defines them."""
        if self.is_initiative or self.properties.get("parameters"):
            return ()
        return used_parameters(self.properties.get("policyRule", self.properties))

    def with_parameters(self, parameters: Mapping[str, Any]) -> Kept:
        properties = {**self.properties, "parameters": parameters}
        nested = self.properties is not self.whole
        return Kept({**self.whole, "properties": properties} if nested else properties, self.place)


def kept_in(raw: object) -> tuple[Kept, ...]:
    """Every definition and initiative in a file's data. Raises `ConditionError` without any."""
    try:
        found = tuple(_definitions_in(raw, "", None))
    except RecursionError:
        raise ConditionError("definition", *TOO_DEEP) from None
    if not found:
        raise ConditionError("definition", "the file holds no definition", _FORMS)
    return found


def is_definition(raw: object) -> bool:
    """Whether the data looks like one of the forms, valid or not."""
    if isinstance(raw, list):
        return any(isinstance(item, Mapping) and is_definition(item) for item in raw)
    return isinstance(raw, Mapping) and bool(_SIGNS & {str(key).lower() for key in raw})


def parameters_in(raw: object) -> Mapping[str, Any] | None:
    """The definitions of parameters in a file of their own, as in Community-Policy; None for another file."""
    if isinstance(raw, Mapping) and _resembles_definition(spelled(raw)):
        return None
    for inner in _wrapped_parameters(raw):
        if inner and all(is_specification(value) for value in inner.values()):
            return inner
    return None


def is_specification(value: object) -> bool:
    """Whether this defines a parameter (type, default, …) and is not a parameter's value."""
    if not isinstance(value, Mapping):
        return False
    words = spelled(value)
    known = {str(key).lower() for key in words} <= _SPECIFICATION
    return known and str(words.get("type")).lower() in _PARAMETER_TYPES


def used_parameters(source: object) -> tuple[str, ...]:
    """The names in `parameters('…')` in a rule, except in its deployment, which has parameters of its own."""
    return tuple(dict.fromkeys(_used(source)))


def spelled(value: Mapping[Any, Any]) -> dict[str, Any]:
    """The mapping with the keys of a definition spelled as documented: their case does not matter to Azure."""
    renamed: dict[str, Any] = {}
    for key, item in value.items():
        folded = str(key).lower()
        word = key if folded in _OF_LISTS and not isinstance(item, (list, str)) else _WORDS.get(folded, key)
        if renamed.get(word) is None:
            renamed[word] = item
    return renamed


def _definitions_in(raw: object, place: str, names: Names | None) -> Iterator[Kept]:
    if isinstance(raw, list):
        yield from _listed(raw, place, names)
        return
    if not isinstance(raw, Mapping):
        raise ConditionError(place or "definition", f"{as_written(raw)} is not an object", _FORMS)
    whole = spelled(raw)
    listed = next((key for key in ("value", "data") if isinstance(whole.get(key), list)), None)
    if _resembles_definition(whole):
        yield _normalized(whole, place, names)
    elif "resources" in whole:
        yield from _in_template(whole, place, names)
    elif listed is not None:
        yield from _listed(whole[listed], under(place, listed), names)
    elif _is_parameter_file(whole):
        yield from _in_parameter_file(whole, place)
    else:
        _refuse(whole, place)


def _listed(items: list[Any], place: str, names: Names | None) -> Iterator[Kept]:
    if items and all(isinstance(item, Mapping) and _is_member(item) for item in items):
        raise ConditionError(
            place or "definition",
            "this is the list of an initiative's members",
            "give the initiative, with 'policyDefinitions'",
        )
    for index, item in enumerate(items):
        yield from _definitions_in(item, f"{place}[{index}]", names)


def _resembles_definition(whole: Mapping[str, Any]) -> bool:
    properties = whole.get("properties")
    inner = spelled(properties) if isinstance(properties, Mapping) else {}
    signs = {"policyRule", "policyDefinitions", "if", "then"}
    return bool(signs & (whole.keys() | inner.keys())) or (not inner and str(properties).startswith("@{"))


def _is_member(item: Mapping[str, Any]) -> bool:
    words = {str(key).lower() for key in item}
    return "policydefinitionid" in words and not words & {"policyrule", "properties"}


def _normalized(whole: dict[str, Any], place: str, names: Names | None) -> Kept:
    """The definition in its normal form: keys as documented, texts of JSON read, and as ARM would deploy it."""
    properties = whole.get("properties")
    nested = isinstance(properties, Mapping)
    inner = spelled(properties) if isinstance(properties, Mapping) else whole
    _refuse_cut(whole, place)
    for key in ("policyRule", "parameters", "metadata", "policyDefinitions"):
        inner[key] = _read_text(inner.get(key))
    below = under(place, "properties") if nested else place
    _refuse_cut(inner, below)
    inner = {key: value for key, value in inner.items() if value is not None}
    if names is not None or _is_escaped(whole, inner):
        inner = _deployed_properties(inner, below, names or Names({}, {}))
    whole = {key: value for key, value in whole.items() if value is not None}
    if not isinstance(whole.get("id"), str):
        known = next((whole[key] for key in ("resourceId", "policyDefinitionId") if key in whole), None)
        whole |= {"id": known} if known else {}
    return Kept({**whole, "properties": inner} if nested else inner | _identity(whole), place)


def _identity(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {key: whole[key] for key in ("id", "name") if key in whole}


def _read_text(value: object) -> object:
    """The value of a text of JSON, as rules are in Terraform's state and in some exports; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        read = json.loads(value)
    except RecursionError:
        raise ConditionError("definition", *TOO_DEEP) from None
    except ValueError:
        return value
    level = [read]
    for _ in range(_MAX_DEPTH):
        holders = [found.values() if isinstance(found, dict) else found for found in level]
        level = [inner for found in holders if isinstance(found, (list, ValuesView)) for inner in found]
        if not level:
            return read
    raise ConditionError("definition", *TOO_DEEP)


def _refuse_cut(holder: Mapping[str, Any], place: str) -> None:
    for key, value in _shallow(holder, 4):
        if isinstance(value, str) and _CUT.fullmatch(value):
            problem = "PowerShell cut the definition off here"
            raise ConditionError(under(place, key), problem, "write it with ConvertTo-Json -Depth 100")


def _shallow(holder: object, depth: int) -> Iterator[tuple[str, object]]:
    """The values down to a depth, by their paths; ConvertTo-Json cuts at the third level by default."""
    if depth and isinstance(holder, Mapping):
        for key, value in holder.items():
            yield str(key), value
            yield from ((f"{key}.{path}", inner) for path, inner in _shallow(value, depth - 1))
    elif depth and isinstance(holder, list):
        for index, value in enumerate(holder):
            yield f"[{index}]", value
            yield from ((f"[{index}].{path}", inner) for path, inner in _shallow(value, depth - 1))


def _is_escaped(whole: Mapping[str, Any], properties: Mapping[str, Any]) -> bool:
    """Whether it is written for ARM, which takes one bracket off: it has an `apiVersion`, or it says that it is a
    resource, has no id of a deployed one, and all expressions of its rule have two brackets."""
    if "apiVersion" in whole:
        return True
    if "id" in whole or not _is_type(whole, _DEFINITIONS):
        return False
    rule = properties.get("policyRule", properties.get("policyDefinitions"))
    texts = [text for _, text in places(rule)]
    return any(map(_is_doubled, texts)) and not any(map(is_expression, texts))


def _is_doubled(text: str) -> bool:
    return text.startswith("[[") and text.endswith("]")


def _is_type(whole: Mapping[str, Any], types: tuple[str, ...]) -> bool:
    return _type(whole).removeprefix(_AUTHORIZATION) in types and _type(whole).startswith(_AUTHORIZATION)


def _type(whole: Mapping[str, Any]) -> str:
    return str(whole.get("type") or whole.get("resourceType") or "").lower()


def _deployed_properties(properties: Mapping[str, Any], place: str, names: Names) -> dict[str, Any]:
    """The properties as ARM would deploy them, without the defaults that only ARM can compute."""
    own = properties.get("parameters")
    if isinstance(own, str):
        own = _Deployment(names, set()).of(own, under(place, "parameters"))
    known = {str(name).lower() for name in own} if isinstance(own, Mapping) else set()
    deployment = _Deployment(names, known)
    deployed = {
        key: deployment.of(value, under(place, key), key) for key, value in properties.items() if key != "parameters"
    }
    if isinstance(own, Mapping):
        below = under(place, "parameters")
        deployed["parameters"] = {
            name: deployment.specification(spec, under(below, name)) for name, spec in own.items()
        }
    elif own is not None:
        deployed["parameters"] = own
    return deployed


class _Deployment(Struct, frozen=True):
    """Converts the strings of a resource as ARM does when it deploys the resource."""

    names: Names
    own: set[str]  # the definition's parameters, folded

    def of(self, value: Any, place: str, key: str = "", lenient: bool = False) -> Any:
        lenient = lenient or key.lower() in _UNDECISIVE_KEYS
        if isinstance(value, str):
            return self._string(value, place, lenient)
        if isinstance(value, Mapping):
            return {name: self.of(item, under(place, str(name)), str(name), lenient) for name, item in value.items()}
        if isinstance(value, list):
            return [self.of(item, f"{place}[{index}]", "", lenient) for index, item in enumerate(value)]
        return value

    def specification(self, spec: Any, place: str) -> Any:
        if not isinstance(spec, Mapping):
            return spec
        known = {}
        for key, value in spec.items():
            try:
                known[key] = self.of(value, under(place, str(key)), str(key))
            except ConditionError:
                continue  # without a default the parameter needs a value, without allowed values it takes any
        return known

    def _string(self, text: str, place: str, lenient: bool) -> Any:
        if _is_doubled(text):
            return text[1:]
        if not self.names.template or not is_expression(text):
            return text
        value = computed(text, self.names)
        if value is not NOT_GIVEN:
            return _undoubled(value)
        if lenient or self._is_the_definitions_own(text):
            return text
        problem = f"{as_written(text, 200)} is an expression of the template that only ARM can evaluate"
        raise ConditionError(place, problem, _DEPLOYED)

    def _is_the_definitions_own(self, text: str) -> bool:
        """Whether an expression can only be the definition's, so that its second bracket was forgotten."""
        try:
            tree = parse(text)
        except SyntaxFault:
            return True  # named with its place when the rule is compiled
        return all(self._is_own_call(call) for call in _calls(tree))

    def _is_own_call(self, call: Call) -> bool:
        name = call.name.lower()
        if name == "parameters":
            used = [str(getattr(argument, "value", "")).lower() for argument in call.arguments]
            return not any(given.lower() in used for given in self.names.parameters) and set(used) <= self.own
        return name in ("field", "current") or name in FUNCTIONS


def _undoubled(value: Any) -> Any:
    """A value from the template's variables with one bracket off: definitions have two brackets there too."""
    if isinstance(value, str):
        return value[1:] if _is_doubled(value) else value
    if isinstance(value, Mapping):
        return {key: _undoubled(item) for key, item in value.items()}
    return [_undoubled(item) for item in value] if isinstance(value, list) else value


def _calls(tree: Expression) -> Iterator[Call]:
    match tree:
        case Call(_, arguments):
            yield tree
            for argument in arguments:
                yield from _calls(argument)
        case Access(base, key):
            yield from _calls(base)
            yield from _calls(key)


def _in_template(whole: Mapping[str, Any], place: str, outer: Names | None) -> Iterator[Kept]:
    """The definitions among a template's resources, including those of nested templates and children."""
    names = _names(whole, outer)
    below = under(place, "resources")
    found = list(_in_resources(whole["resources"], below, names))
    if not found and outer is None:
        kinds = sorted({_type(resource) for _, resource in _resources(whole["resources"], below)} - {""})
        if any(kind in kinds for kind in (_AUTHORIZATION + each for each in _DEFINITIONS)):
            raise ConditionError(below, "only ARM can evaluate the definition in this template", _DEPLOYED)
        resources = f"its resources are {', '.join(kinds[:5])[:300]}" if kinds else "it has no resources"
        raise ConditionError(below, f"the ARM template holds no definition: {resources}", _FORMS)
    yield from found


def _names(template: Mapping[str, Any], outer: Names | None) -> Names:
    parameters, variables = template.get("parameters"), template.get("variables")
    given: dict[str, Any] = dict(outer.parameters) if outer else {}
    names = Names(
        variables if isinstance(variables, Mapping) else {}, given, True, outer.budget if outer else Budget(_STEPS)
    )
    for name, spec in parameters.items() if isinstance(parameters, Mapping) else ():
        default = spelled(spec).get("defaultValue", NOT_GIVEN) if isinstance(spec, Mapping) else NOT_GIVEN
        given.setdefault(name, NOT_GIVEN if default is NOT_GIVEN else computed(default, names))
    return names


def _in_resources(resources: object, place: str, names: Names) -> Iterator[Kept]:
    opened = False
    for where, resource in _resources(resources, place):
        properties = resource.get("properties")
        inner = spelled(properties) if isinstance(properties, Mapping) else {}
        template = inner.get("template")
        if _is_type(resource, _DEFINITIONS):
            if _is_open(properties, names) or any(_is_open(inner.get(key), names) for key in _CONTENT):
                opened = True  # a loop over what lies in the variables, mostly
                continue
            if isinstance(properties, str):
                resource = {**resource, "properties": computed(properties, names)}
            yield _normalized(_with_computed_name(resource, names), where, names)
        elif isinstance(template, Mapping) and "resources" in spelled(template):
            within = Names({}, _passed(inner.get("parameters"), names), True, names.budget)
            yield from _in_template(spelled(template), under(where, "properties.template"), within)
        if "resources" in resource:
            yield from _in_resources(resource["resources"], under(where, "resources"), names)
    if opened:
        yield from _in_variables(names.variables, "variables", names)


def _is_open(value: object, names: Names) -> bool:
    return isinstance(value, str) and computed(value, names) is NOT_GIVEN


def _with_computed_name(resource: Mapping[str, Any], names: Names) -> dict[str, Any]:
    name = computed(resource.get("name"), names)
    return {**resource, "name": name if isinstance(name, str) else ""}


def _passed(parameters: object, names: Names) -> dict[str, Any]:
    passed = {}
    for name, wrapped in parameters.items() if isinstance(parameters, Mapping) else ():
        if isinstance(wrapped, Mapping) and "value" in wrapped:
            passed[name] = computed(wrapped["value"], names)
    return passed


def _resources(resources: object, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The resources of a list, or of an object by symbolic names, each with its place."""
    if isinstance(resources, Mapping):
        items = [(under(place, str(name)), item) for name, item in resources.items()]
    else:
        items = [
            (f"{place}[{index}]", item) for index, item in enumerate(resources if isinstance(resources, list) else [])
        ]
    yield from ((where, spelled(item)) for where, item in items if isinstance(item, Mapping))


def _in_variables(value: object, place: str, names: Names) -> Iterator[Kept]:
    """The definitions in a template's variables, as objects or as texts, which Bicep makes from files."""
    if isinstance(value, str) and "policyRule" in value:
        value, names = _read_text(value), Names({}, {})  # a text has no expressions of the template
    if isinstance(value, Mapping):
        whole = spelled(value)
        if _resembles_definition(whole):
            yield _normalized(_with_computed_name(whole, names), place, names)
            return
        for name, item in value.items():
            yield from _in_variables(item, under(place, str(name)), names)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in_variables(item, f"{place}[{index}]", names)


def _is_parameter_file(whole: Mapping[str, Any]) -> bool:
    schema = str(whole.get("$schema", "")).lower()
    return isinstance(whole.get("parameters"), Mapping) and (
        "deploymentparameters" in schema or "contentVersion" in whole
    )


def _in_parameter_file(whole: Mapping[str, Any], place: str) -> Iterator[Kept]:
    found = False
    for name, wrapped in whole["parameters"].items():
        value = wrapped.get("value") if isinstance(wrapped, Mapping) else None
        if isinstance(value, Mapping) and _resembles_definition(spelled(value)):
            found = True
            yield _normalized(spelled(value), under(place, f"parameters.{name}.value"), None)
    if not found:
        problem = "this file holds parameter values and no definition"
        raise ConditionError(under(place, "parameters"), problem, _FORMS)


def _refuse(whole: Mapping[str, Any], place: str) -> None:
    """Raise an error that says what it is instead of a definition."""
    properties = whole.get("properties")
    inner = spelled(properties) if isinstance(properties, Mapping) else {}
    assigned = inner.get("policyDefinitionId") or whole.get("policyDefinitionId")
    if assigned and ("properties" in whole or "scope" in whole or _is_type(whole, ("policyassignments",))):
        raise ConditionError(
            place or "definition",
            f"this is an assignment of {as_written(str(assigned), 300)}",
            "give that definition, and the values with --parameters",
        )
    if parameters_in(whole) is not None:
        raise ConditionError(
            place or "definition",
            "the file holds the parameters of a definition and no rule",
            "give the file with the rule",
        )
    if _type(whole) and not _is_type(whole, _DEFINITIONS):
        raise ConditionError(under(place, "type"), f"{as_written(_type(whole))} is not a policy definition", _FORMS)
    below = under(place, "properties") if "properties" in whole else place
    raise ConditionError(under(below, "policyRule"), "missing key 'policyRule'", _FORMS)


def _wrapped_parameters(raw: object) -> Iterator[Mapping[str, Any]]:
    if not isinstance(raw, Mapping):
        return
    yield raw
    inner = spelled(raw).get("parameters")
    if isinstance(inner, Mapping):
        yield inner
    properties = spelled(raw).get("properties")
    if isinstance(properties, Mapping) and isinstance(spelled(properties).get("parameters"), Mapping):
        yield spelled(properties)["parameters"]


def _used(source: object) -> Iterator[str]:
    if isinstance(source, str) and is_expression(source):
        try:
            tree = parse(source)
        except (SyntaxFault, RecursionError):
            return
        for call in _calls(tree):
            if call.name.lower() == "parameters" and len(call.arguments) == 1:
                yield str(getattr(call.arguments[0], "value", ""))
    elif isinstance(source, Mapping):
        for key, value in source.items():
            if str(key).lower() == "deployment":
                properties = spelled(value).get("properties") if isinstance(value, Mapping) else None
                yield from _used(spelled(properties).get("parameters") if isinstance(properties, Mapping) else None)
            else:
                yield from _used(value)
    elif isinstance(source, list):
        for item in source:
            yield from _used(item)


def under(place: str, step: str) -> str:
    """The place of a part of it: of a key, or of an item such as `[0]`."""
    return f"{place}{step}" if step.startswith("[") else f"{place}.{step}" if place else step


_WORDS: Final = {
    word.lower(): word
    for word in (
        *("properties", "displayName", "mode", "version", "metadata", "parameters", "policyRule", "policyDefinitions"),
        *("if", "then", "effect", "details", "type", "name", "id", "existenceCondition", "deployment"),
        *("defaultValue", "allowedValues", "apiVersion", "resources", "variables", "value", "data", "template"),
        *("resourceId", "resourceType", "policyDefinitionId", "policyDefinitionReferenceId", "contentVersion"),
        "definitionVersion",
    )
} | {
    # Newer PowerShell has the singular; SDKs and Terraform have underscores.
    "parameter": "parameters",
    "policydefinition": "policyDefinitions",
    "allowedvalue": "allowedValues",
    "allowed_values": "allowedValues",
    "default_value": "defaultValue",
    "policy_rule": "policyRule",
    "display_name": "displayName",
    "policy_definitions": "policyDefinitions",
    "policy_definition_id": "policyDefinitionId",
    "policy_definition_reference_id": "policyDefinitionReferenceId",
    "definition_version": "definitionVersion",
}
_OF_LISTS: Final = frozenset(("policydefinition",))  # the name of an initiative's list alone
_PARAMETER_TYPES: Final = frozenset(("string", "array", "object", "boolean", "integer", "float", "datetime"))
_SPECIFICATION: Final = {"type", "defaultvalue", "allowedvalues", "metadata", "schema", "additionalproperties"}
_SIGNS: Final = {"properties", "policyrule", "policy_rule", "if", "value", "data", "resources", "contentversion"}
