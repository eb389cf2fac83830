"""Azure Policy definitions: read from their JSON, checked as a whole, bound to parameter values.

Reads every form of `definition_forms`. A definition that cannot be read is a `ConditionError` that names the place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from onboarding.domain.errors import as_written, known_names
from onboarding.domain.json_access import text
from onboarding.domain.policy.conditions import (
    NOT_GIVEN,
    ConditionError,
    Context,
    Resource,
    Template,
    Undecided,
    compile_condition,
    compile_template,
)
from onboarding.domain.policy.conditions.compiler import condition_errors
from onboarding.domain.policy.conditions.expression_syntax import is_expression, unescaped
from onboarding.domain.policy.conditions.values import shown
from onboarding.domain.policy.definitions.compliance import EFFECTS, Answer, BoundDefinition, Existence
from onboarding.domain.policy.definitions.definition_forms import (
    Kept,
    is_specification,
    kept_in,
    spelled,
    under,
    used_parameters,
)

_NOTHING: Final = Resource({})
_EFFECTS: Final = frozenset(effect.lower() for effect in EFFECTS)
_NAMES_A_PARAMETER: Final = re.compile(r"\[\s*parameters\(\s*'[^']*'\s*\)\s*\]", re.IGNORECASE)


class Parameter(Struct, frozen=True):
    """One parameter of a definition."""

    name: str
    type: str  # in lower case; empty if the definition has none
    default: Any  # `NOT_GIVEN` if an assignment has to give the value
    allowed: tuple[Any, ...]  # empty for any value

    def checked(self, value: Any, place: str) -> Any:
        """The value, if an assignment may give it. "Allowed value comparisons are case-sensitive"."""
        values = value if self.type == "array" and isinstance(value, list) else [value]
        for each in values if self.allowed else ():
            if each not in self.allowed:
                problem = f"{as_written(each)} is not an allowed value of parameter '{self.name}'"
                raise ConditionError(place, problem, f"use {self._choices()}")
        if self.type != "object" and is_specification(value):
            problem = f"parameter '{self.name}' has its definition where its value belongs"
            raise ConditionError(place, problem, f'write {{"{self.name}": value}}')
        expected = _TYPES.get(self.type)
        if expected is not None and (not isinstance(value, expected) or _is_bool_for_number(value, self.type)):
            problem = f"{as_written(value)} is not of the type of parameter '{self.name}'"
            raise ConditionError(place, problem, f"write a value of type {self.type}")
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


class Definition(Struct, frozen=True):
    """One policy definition; absent texts are empty."""

    id: str
    name: str
    display_name: str
    version: str
    mode: str
    parameters: Mapping[str, Parameter]
    rule: Mapping[str, Any]  # the `if`
    effect: str  # as it is written, often an expression
    details: Mapping[str, Any]  # of the effect
    place: str  # of the rule, for errors

    def bind(self, values: Mapping[str, Any] | None = None) -> BoundDefinition:
        """Check an assignment's parameter values, and compile the definition for them."""
        given = self.resolve(values or {})
        then = under(self.place, "then")
        effect = compile_template(self.effect, given, f"{then}.effect")
        _check_bound(effect, values or {}, f"{then}.effect")
        return BoundDefinition(
            effect=effect,
            condition=compile_condition(self.rule, given, under(self.place, "if")),
            existence=_existence(self.details, given, f"{then}.details"),
        )

    def evaluate(self, vm_body: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> Answer:
        """Bind and evaluate. For many VMs, bind once and evaluate each."""
        return self.bind(parameters).evaluate(Resource(vm_body, Context()))

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter's value: the given one, else its default, else `NOT_GIVEN`."""
        known = {name.lower(): parameter for name, parameter in self.parameters.items()}
        for name in values:
            if name.lower() not in known:
                fix = known_names("parameters", self.parameters, name)
                raise ConditionError("parameters", f"unknown parameter {as_written(name)}", fix)
        given = {name.lower(): value for name, value in values.items()}
        return {
            parameter.name: parameter.checked(_unwrapped(given[key], parameter), f"parameters.{parameter.name}")
            if key in given
            else parameter.default
            for key, parameter in known.items()
        }


def read_definition(raw: object) -> Definition:
    """Read the only definition in a file's data. Errors in its rule are found before any VM is evaluated."""
    return read_kept(only(kept_in(raw)))


def only(kept: tuple[Kept, ...]) -> Kept:
    """The only definition. Raises a `ConditionError` that names them if there are several."""
    if len(kept) > 1:
        names = ", ".join(each.name or each.place for each in kept[:8]) + (", …" if len(kept) > 8 else "")
        problem = f"the file holds {len(kept)} definitions: {names}"
        raise ConditionError("definition", problem, "give one of them, or import them all")
    return kept[0]


def read_kept(kept: Kept) -> Definition:
    """Read one definition in its normal form."""
    whole, properties = kept.whole, kept.properties
    rule, place = _rule(kept)
    then, details = _then(rule, place)
    metadata = properties.get("metadata")
    definition = Definition(
        id=text(whole.get("id")),
        name=text(whole.get("name")),
        display_name=text(properties.get("displayName")),
        version=text((metadata if isinstance(metadata, Mapping) else {}).get("version"))
        or text(properties.get("version")),
        mode=text(properties.get("mode")),
        parameters=_parameters(properties.get("parameters")),
        rule=_object_at(rule.get("if"), under(place, "if")),
        effect=_effect(then.get("effect"), under(place, "then.effect")),
        details=details,
        place=place,
    )
    _check_effect(definition, under(kept.properties_place, "parameters"))
    definition.bind()
    return definition


def kept_errors(kept: Kept) -> tuple[ConditionError, ...]:
    """All errors of both conditions; if there are none, the first error of the rest."""
    try:
        rule, place = _rule(kept)
        defined = _parameters(kept.properties.get("parameters"))
        values = {name: parameter.default for name, parameter in defined.items()}
        _, details = _then(rule, place)
        errors = condition_errors(rule["if"], values, under(place, "if")) if "if" in rule else ()
        if "existenceCondition" in details:
            below = under(place, "then.details.existenceCondition")
            errors += condition_errors(details["existenceCondition"], values, below, _related_type(details, values))
        if not errors:
            read_kept(kept)
    except ConditionError as error:
        return (error,)
    return errors


def _rule(kept: Kept) -> tuple[Mapping[str, Any], str]:
    """The rule and its place."""
    if kept.is_initiative:
        place = under(kept.properties_place, "policyDefinitions")
        raise ConditionError(place, "this is an initiative", "import it, or give one of its definitions")
    if "policyRule" not in kept.properties and "if" in kept.properties:
        return kept.properties, kept.properties_place
    place = under(kept.properties_place, "policyRule")
    return spelled(_object_at(kept.properties.get("policyRule"), place)), place


def _check_effect(definition: Definition, parameters_place: str) -> None:
    """Raise for an effect that no definition can have, as it is written or among the values of its parameter."""
    place = under(definition.place, "then.effect")
    if not is_expression(definition.effect):
        check_effect(unescaped(definition.effect), place)
        return
    for name in used_parameters(definition.effect) if _NAMES_A_PARAMETER.fullmatch(definition.effect) else ():
        parameter = next((each for key, each in definition.parameters.items() if key.lower() == name.lower()), None)
        if parameter is not None:
            below = f"{parameters_place}.{parameter.name}"
            for value in parameter.allowed:
                check_effect(value, f"{below}.allowedValues")
            if parameter.default is not NOT_GIVEN:
                check_effect(parameter.default, f"{below}.defaultValue")


def _check_bound(effect: Template, values: Mapping[str, Any], place: str) -> None:
    """Raise for parameter values that make the effect one that no definition can have."""
    if effect.value.constant:
        try:
            value = effect.of(_NOTHING)
        except Undecided:
            return
        named = [name for name in values if name.lower() in map(str.lower, used_parameters(effect.source))]
        check_effect(value, f"parameters.{named[0]}" if named else place)


def check_effect(value: object, place: str) -> None:
    """Raise for a value that is not an effect of Azure Policy."""
    if isinstance(value, str) and value.lower() in _EFFECTS:
        return
    fix = known_names("effects", EFFECTS, value)
    if isinstance(value, str) and value.startswith("["):
        fix = (
            "two brackets are for an ARM template: remove one, or give the definition as an ARM resource, with"
            f" 'type' and 'apiVersion'; {fix}"
        )
    raise ConditionError(place, f"unknown effect {shown(value)}", fix)


def _then(rule: Mapping[str, Any], place: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The `then` and its details; none for `append`, whose details are a list and not about a related resource."""
    then = spelled(_object_at(rule.get("then"), under(place, "then")))
    details = then.get("details")
    return then, spelled(details) if isinstance(details, Mapping) else {}


def _existence(details: Mapping[str, Any], parameters: Mapping[str, Any], place: str) -> Existence | None:
    if not isinstance(details.get("type"), str):
        return None
    condition = details.get("existenceCondition")
    return Existence(
        type=compile_template(details["type"], parameters, f"{place}.type"),
        name=compile_template(details["name"], parameters, f"{place}.name") if "name" in details else None,
        condition=None
        if condition is None
        else compile_condition(
            condition, parameters, f"{place}.existenceCondition", _related_type(details, parameters)
        ),
    )


def _related_type(details: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """The type of the related resource; empty if it depends on the machine."""
    if not isinstance(details.get("type"), str):
        return ""
    type_ = compile_template(details["type"], parameters, "type")
    try:
        return str(type_.of(_NOTHING)) if type_.value.constant else ""
    except Undecided:
        return ""


def _parameters(raw: object) -> dict[str, Parameter]:
    if raw is None:
        return {}
    found = {}
    for name, spec in _object_at(raw, "parameters").items():
        spec = spelled(_object_at(spec, f"parameters.{name}"))
        allowed = spec.get("allowedValues")
        found[name] = Parameter(
            name=name,
            type=text(spec.get("type")).lower(),
            default=spec.get("defaultValue", NOT_GIVEN),
            allowed=tuple(allowed) if isinstance(allowed, list) else (),
        )
    return found


def _unwrapped(value: Any, parameter: Parameter) -> Any:
    """The value without the `{"value": …}` that assignments write around it."""
    wrapped = isinstance(value, Mapping) and set(value) == {"value"} and parameter.type != "object"
    return value["value"] if wrapped else value


def _effect(value: object, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConditionError(place, "missing key 'effect'", "add `effect:` and the name of an effect")
    return value


def _object_at(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        key = place.rpartition(".")[2]
        problem = f"missing key '{key}'" if value is None else f"{as_written(value)} is not an object"
        raise ConditionError(place, problem, f"write an object below '{key}'")
    return value
