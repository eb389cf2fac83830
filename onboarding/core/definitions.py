"""Azure Policy definitions as they are: read from their JSON, checked as a whole, bound to parameter values.

Reads a built-in's file (`properties.policyRule`), the form without `properties`, and a bare rule (`if`, `then`).
A definition that cannot be read is a `ConditionError` naming the place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from onboarding.core.compliance import Answer, BoundDefinition, Existence
from onboarding.core.conditions import NOT_GIVEN, ConditionError, Context, Resource, compile_condition, compile_template
from onboarding.core.conditions.check import condition_errors


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a definition; `default` is `NOT_GIVEN` when an assignment has to give the value."""

    name: str
    type: str
    default: Any
    allowed: tuple[Any, ...]

    def checked(self, value: Any, place: str) -> Any:
        """The value, if an assignment may give it. "Allowed value comparisons are case-sensitive"."""
        values = value if self.type == "array" and isinstance(value, list) else [value]
        for each in values if self.allowed else ():
            if each not in self.allowed:
                raise ConditionError(place, f"parameter '{self.name}' may not be {each!r}: use {self._choices()}")
        expected = _TYPES.get(self.type)
        if expected is not None and (not isinstance(value, expected) or _is_bool_for_number(value, self.type)):
            raise ConditionError(place, f"parameter '{self.name}' is of type {self.type}, not {value!r}")
        return value

    def _choices(self) -> str:
        return ", ".join(repr(value) for value in self.allowed[:8]) + (" …" if len(self.allowed) > 8 else "")


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "datetime": str,
    "array": list,
    "object": dict,
    "boolean": bool,
    "integer": int,
    "float": (int, float),
}


def _is_bool_for_number(value: Any, type_: str) -> bool:
    return type_ in ("integer", "float") and isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Definition:
    """One policy definition. `rule` is its `if`; `details` belongs to the effect."""

    id: str
    name: str
    display_name: str
    version: str
    mode: str
    parameters: Mapping[str, Parameter]
    rule: Mapping[str, Any]
    effect: str
    details: Mapping[str, Any]
    place: str

    def bind(self, values: Mapping[str, Any] | None = None) -> BoundDefinition:
        """Compile the definition for an assignment's parameter values, which are checked."""
        given = self.resolve(values or {})
        then = _below(self.place, "then")
        return BoundDefinition(
            effect=compile_template(self.effect, given, f"{then}.effect"),
            condition=compile_condition(self.rule, given, _below(self.place, "if")),
            existence=_existence(self.details, given, f"{then}.details"),
        )

    def evaluate(self, vm_body: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> Answer:
        """Bind and evaluate once; whoever asks about many VMs binds once."""
        return self.bind(parameters).evaluate(Resource(vm_body, Context()))

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter's value: the one given, or else its default, or else `NOT_GIVEN`."""
        known = {name.lower(): parameter for name, parameter in self.parameters.items()}
        for name in values:
            if name.lower() not in known:
                raise ConditionError("parameters", f"there is no parameter '{name}': use {', '.join(self.parameters)}")
        given = {name.lower(): value for name, value in values.items()}
        return {
            parameter.name: parameter.checked(_unwrapped(given[key], parameter), f"parameters.{parameter.name}")
            if key in given
            else parameter.default
            for key, parameter in known.items()
        }


def read_definition(raw: object) -> Definition:
    """Read a definition; compiling it once here finds what is wrong in its rule before any VM is looked at."""
    whole, properties, rule, place = _parts(raw)
    then, details = _then(rule, place)
    metadata = properties.get("metadata")
    definition = Definition(
        id=_text(whole.get("id")),
        name=_text(whole.get("name")),
        display_name=_text(properties.get("displayName")),
        version=_text((metadata if isinstance(metadata, Mapping) else {}).get("version"))
        or _text(properties.get("version")),
        mode=_text(properties.get("mode")),
        parameters=_parameters(properties.get("parameters")),
        rule=_mapping(rule.get("if"), _below(place, "if")),
        effect=_effect(then.get("effect"), _below(place, "then.effect")),
        details=details,
        place=place,
    )
    definition.bind()
    return definition


def definition_errors(raw: object) -> tuple[ConditionError, ...]:
    """Every error of both conditions; when they have none, the first one of the rest."""
    try:
        _, properties, rule, place = _parts(raw)
        values = {name: parameter.default for name, parameter in _parameters(properties.get("parameters")).items()}
        _, details = _then(rule, place)
        errors = condition_errors(rule["if"], values, _below(place, "if")) if "if" in rule else ()
        if "existenceCondition" in details:
            below = _below(place, "then.details.existenceCondition")
            errors += condition_errors(details["existenceCondition"], values, below)
        if not errors:
            read_definition(raw)
    except ConditionError as error:
        return (error,)
    return errors


def _parts(raw: object) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], str]:
    """The whole, its properties, its rule, and the place of the rule, for each of the three forms."""
    whole = _spelled(_mapping(raw, "definition"))
    properties = _spelled(_mapping(whole["properties"], "properties")) if "properties" in whole else whole
    if "policyDefinitions" in properties:
        raise ConditionError("policyDefinitions", "this is an initiative: import it, or give one of its definitions")
    if "policyRule" not in properties and "if" in properties:
        return whole, properties, properties, "properties" if "properties" in whole else ""
    place = "properties.policyRule" if "properties" in whole else "policyRule"
    return whole, properties, _spelled(_mapping(properties.get("policyRule"), place)), place


def _then(rule: Mapping[str, Any], place: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What follows, and its details: `append` has a list there, which says nothing of other resources."""
    then = _spelled(_mapping(rule.get("then"), _below(place, "then")))
    details = then.get("details")
    return then, _spelled(details) if isinstance(details, Mapping) else {}


def _below(place: str, step: str) -> str:
    return f"{place}.{step}" if place else step


def _existence(details: Mapping[str, Any], parameters: Mapping[str, Any], place: str) -> Existence | None:
    if not isinstance(details.get("type"), str):
        return None
    condition = details.get("existenceCondition")
    return Existence(
        type=compile_template(details["type"], parameters, f"{place}.type"),
        name=compile_template(details["name"], parameters, f"{place}.name") if "name" in details else None,
        condition=None
        if condition is None
        else compile_condition(condition, parameters, f"{place}.existenceCondition"),
    )


def _parameters(raw: object) -> dict[str, Parameter]:
    if raw is None:
        return {}
    found = {}
    for name, spec in _mapping(raw, "parameters").items():
        spec = _spelled(_mapping(spec, f"parameters.{name}"))
        allowed = spec.get("allowedValues")
        found[name] = Parameter(
            name=name,
            type=_text(spec.get("type")).lower(),
            default=spec.get("defaultValue", NOT_GIVEN),
            allowed=tuple(allowed) if isinstance(allowed, list) else (),
        )
    return found


def _unwrapped(value: Any, parameter: Parameter) -> Any:
    """Assignments write `{"value": …}` around a value; a plain value is as good."""
    wrapped = isinstance(value, Mapping) and set(value) == {"value"} and parameter.type != "object"
    return value["value"] if wrapped else value


def _effect(value: object, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConditionError(place, "the effect is missing")
    return value


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConditionError(place, "is missing" if value is None else "is not an object")
    return value


def _spelled(value: Mapping[Any, Any]) -> Mapping[str, Any]:
    """With the words of a definition as they are documented: to Azure their case does not matter."""
    return {_WORDS.get(str(key).lower(), key): item for key, item in value.items()}


_WORDS: Final = {
    word.lower(): word
    for word in (
        *("properties", "displayName", "mode", "version", "metadata", "parameters", "policyRule", "policyDefinitions"),
        *("if", "then", "effect", "details", "type", "name", "existenceCondition", "deployment"),
        *("defaultValue", "allowedValues"),
    )
}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
