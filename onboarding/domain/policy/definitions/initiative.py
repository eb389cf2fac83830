"""Reads an initiative (a policy set definition): its members, and the values that it passes to each; and the assignment
that gives it values and a scope."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import as_written, known_names
from onboarding.domain.json_access import items, mapping, text
from onboarding.domain.policy.conditions import NOT_GIVEN, ConditionError, Resource, Undecided, compile_template
from onboarding.domain.policy.definitions.definition_forms import Kept, spelled

_ONE_PARAMETER = re.compile(r"\[\s*parameters\(\s*'([^']*)'\s*\)\s*\]", re.IGNORECASE)
_OVERRIDES_EFFECT = "policyeffect"
_MEMBERS = "policydefinitionreferenceid"


class MemberReference(Struct, frozen=True):
    """One member as the initiative names it."""

    reference: str
    definition_id: str
    key: str  # the definition's name, in lower case
    parameters: Mapping[str, Any]  # as written: values or expressions
    version: str = ""  # which versions of the definition it takes, such as `3.*.*`; empty for any

    def takes(self, version: str) -> bool:
        """Whether it takes this version of its definition; an empty one is not known. What stands behind a dash, such
        as `-preview`, does not matter."""
        if not self.version or not version:
            return True
        wanted, given = (each.partition("-")[0].split(".") for each in (self.version, version))
        return all(one in ("*", other) for one, other in zip(wanted, given, strict=False))


class PolicyAssignment(Struct, frozen=True):
    """What an assignment says."""

    parameters: Mapping[str, Any] = {}
    scope: str = ""
    not_scopes: tuple[str, ...] = ()
    enforced: bool = True  # with `DoNotEnforce` nothing is deployed, and compliance is still judged
    effects: Mapping[str, str] = {}  # by reference in lower case; an empty key is for all


def members_of(initiative: Kept) -> tuple[MemberReference, ...]:
    """The members in their order; each has a reference that no other has."""
    listed = initiative.properties.get("policyDefinitions")
    found: list[MemberReference] = []
    for number, item in enumerate(listed if isinstance(listed, list) else []):
        member = spelled(item) if isinstance(item, Mapping) else {}
        id_ = text(member.get("policyDefinitionId"))
        reference = text(member.get("policyDefinitionReferenceId")) or id_ or f"policyDefinitions[{number}]"
        if any(reference.lower() == each.reference.lower() for each in found):
            reference = f"{reference} ({number + 1})"
        version = text(member.get("definitionVersion"))
        found.append(MemberReference(reference, id_, definition_key(id_), mapping(member.get("parameters")), version))
    return tuple(found)


def definition_key(id_: str) -> str:
    """The name of a definition: the end of its id, or the last text of the template expression that makes the id."""
    texts = re.findall(r"'([^']*)'", id_) if id_.startswith("[") else []
    return (texts[-1] if texts else id_).rpartition("/")[2].lower()


def set_values(initiative: Kept, values: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of the initiative: the given value, else its default, else `NOT_GIVEN`. Raises ConditionError for
    a value that its parameter does not allow."""
    given = {name.lower(): value for name, value in values.items()}
    found = {}
    for name, spec in mapping(initiative.properties.get("parameters")).items():
        words = spelled(spec) if isinstance(spec, Mapping) else {}
        value = given.get(name.lower(), words.get("defaultValue", NOT_GIVEN))
        allowed = words.get("allowedValues")
        if name.lower() in given and isinstance(allowed, list) and value not in allowed and not isinstance(value, list):
            problem = f"{as_written(value)} is not an allowed value of parameter '{name}'"
            raise ConditionError(f"parameters.{name}", problem, f"use {', '.join(map(repr, allowed[:8]))}")
        found[name] = value
    return found


def check_known(initiatives: tuple[Kept, ...], values: Mapping[str, Any]) -> None:
    """Raise ConditionError for a value of a parameter that no initiative has."""
    known = [name for each in initiatives for name in mapping(each.properties.get("parameters"))]
    for name in values:
        if name.lower() not in {each.lower() for each in known}:
            fix = known_names("parameters", known, name)
            raise ConditionError("parameters", f"unknown parameter {as_written(name)}", fix)


def passed_values(member: MemberReference, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the initiative passes on. Where it has no value, the default of the definition applies."""
    passed = {}
    for name, wrapped in member.parameters.items():
        value = wrapped.get("value") if isinstance(wrapped, Mapping) else wrapped
        try:
            passed[name] = compile_template(value, given, f"parameters.{name}").of(Resource({}))
        except Undecided:
            continue
    return passed


def names_in(member: MemberReference) -> dict[str, str]:
    """The initiative's name of each parameter of the member whose value is one of the initiative's parameters."""
    found = {}
    for name, wrapped in member.parameters.items():
        value = wrapped.get("value") if isinstance(wrapped, Mapping) else wrapped
        if isinstance(value, str) and (only := _ONE_PARAMETER.fullmatch(value)):
            found[name] = only[1]
    return found


def read_assignment(raw: object) -> PolicyAssignment:
    """An assignment, as `az policy assignment show` and REST print it, or an ARM resource. Raises ConditionError."""
    whole = _folded(raw)
    inner = _folded(whole.get("properties")) or whole
    if "policydefinitionid" not in inner:
        raise ConditionError(
            "assignment", "this is not a policy assignment", "give what `az policy assignment show` prints"
        )
    parameters = {
        name: value["value"] if isinstance(value, Mapping) and "value" in value else value
        for name, value in mapping(inner.get("parameters")).items()
    }
    scope = text(inner.get("scope")) or text(whole.get("scope")) or _scope_of(text(whole.get("id")))
    listed = inner.get("notscopes")
    return PolicyAssignment(
        parameters=parameters,
        scope=scope,
        not_scopes=tuple(map(str, listed)) if isinstance(listed, list) else (),
        enforced=text(inner.get("enforcementmode")).lower() != "donotenforce",
        effects=dict(_effects(inner.get("overrides"))),
    )


def _effects(overrides: Any) -> Iterator[tuple[str, str]]:
    for override in items(overrides):
        words = _folded(override)
        if text(words.get("kind")).lower() != _OVERRIDES_EFFECT:
            continue
        selectors = [_folded(each) for each in items(words.get("selectors"))]
        named = [
            str(reference).lower()
            for each in selectors
            if text(each.get("kind")).lower() == _MEMBERS
            for reference in _listed(each.get("in"))
        ]
        for reference in named or [""]:
            yield reference, text(words.get("value"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _folded(raw: object) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in raw.items()} if isinstance(raw, Mapping) else {}


def _scope_of(id_: str) -> str:
    return id_.lower().partition("/providers/microsoft.authorization/policyassignments/")[0] if id_ else ""
