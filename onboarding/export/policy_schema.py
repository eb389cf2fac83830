"""The JSON Schema of policy files, for editors: that of the type that files are read into, with what only data say.

It helps while a person writes. `onboard policy validate` checks more, such as the expressions, and decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.setting_schema import SettingSchema
from onboarding.domain.machine.managed_machines import ManagedKind
from onboarding.domain.policy.conditions.operators import OPERATORS, Operator
from onboarding.domain.policy.policy_file import PolicyFile
from onboarding.domain.typed_file import json_schema

type Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_CONDITION: Schema = {"$ref": "#/$defs/condition"}


def policy_schema(catalogue: Mapping[str, CatalogueEntry], kinds: Iterable[ManagedKind]) -> Schema:
    """The schema, with the extensions of this catalogue and these kinds of managed machine."""
    schema = json_schema(PolicyFile)
    names = {"enum": [kind.name for kind in kinds]}
    included: list[Schema] = [{"type": "boolean"}, names, {"type": "array", "items": names}, {"type": "null"}]
    # Editors offer the names of the enum; a schema from elsewhere does not have the user's own entries.
    own = {"type": "string", "pattern": r"^[a-z0-9][a-z0-9.-]*$"}
    names_of_extensions: Schema = {"anyOf": [{"enum": list(catalogue)}, own]}
    several = {"type": "array", "items": names_of_extensions, "minItems": 1}
    _narrow(schema["properties"], "extension", [*names_of_extensions["anyOf"], several])
    _narrow(schema["properties"], "includeManaged", included)
    for key in ("rule", "existenceCondition"):
        _narrow(schema["properties"], key, [_CONDITION, {"type": "null"}])
    _narrow(schema["$defs"]["WorkspaceEntry"]["properties"], "when", [_CONDITION, {"type": "null"}])
    schema["title"] = "Policy of vm-onboarding"
    schema["allOf"] = [_of_extension(entry) for entry in catalogue.values()]
    schema["$defs"]["condition"] = _condition()
    return schema


def _narrow(properties: Schema, key: str, choices: list[Schema]) -> None:
    """Say more about a key than its type does."""
    properties[key] = {"description": properties[key]["description"], "anyOf": choices}


def _of_extension(entry: CatalogueEntry) -> Schema:
    """The part of the schema that depends on the extension."""
    tables = [*entry.support_tables, None] if entry.support_tables else [None]
    then = {
        **{group: _object(schema) | {"type": ["object", "null"]} for group, schema in entry.groups.items()},
        "supportTable": {"enum": tables},
    }
    chosen = {"properties": {"extension": {"const": entry.name}}}
    return {"if": chosen, "then": {"properties": then}}


def _setting(schema: SettingSchema) -> Schema:
    """A value, or null for none. What a text may be is not said: it may be a template."""
    described: Schema = {"description": schema.description} if schema.description else {}
    match schema.kind:
        case "":
            return described
        case "object":
            return described | _object(schema) | {"type": ["object", "null"]}
        case "array" if schema.items is not None:
            return described | {"type": ["array", "null"], "items": _setting(schema.items)}
        case "string":
            return described | {"type": ["string", "null"]}
    limits = {"enum": schema.enum, "minimum": schema.minimum, "maximum": schema.maximum}
    return described | {
        "type": [schema.kind, "null"],
        **{key: each for key, each in limits.items() if each is not None},
    }


def _object(schema: SettingSchema) -> Schema:
    """An object; what it requires may come from a default or from a workspace."""
    properties = {name: _setting(each) for name, each in (schema.properties or {}).items()}
    return {**_closed(properties), "additionalProperties": schema.is_open}


def _condition() -> Schema:
    kinds: dict[str, Schema] = {
        "allOf": {"type": "array", "items": _CONDITION},
        "anyOf": {"type": "array", "items": _CONDITION},
        "not": _CONDITION,
        "field": _TEXT,
        "value": {},
        "count": _closed({"field": _TEXT, "value": {}, "name": _TEXT, "where": _CONDITION}),
    }
    alone = [{"required": [kind], "maxProperties": 1} for kind in ("allOf", "anyOf", "not")]
    compared = [{"required": [kind], "minProperties": 2, "maxProperties": 2} for kind in ("field", "value", "count")]
    operators = {operator.name: _right_side(operator) for operator in OPERATORS.values()}
    return {**_closed({**kinds, **operators}), "oneOf": [*alone, *compared]}


def _right_side(operator: Operator) -> Schema:
    """The type of an operator's right side; a text is always allowed, since it may be an expression."""
    types = {"boolean": ["boolean", "string"], "list": ["array", "string"]}.get(operator.expects)
    return {"type": types} if types else {}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}
