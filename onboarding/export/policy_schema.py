"""The JSON Schema of a policy file, for editors, made from the same data that the files are read with.

It helps while a person writes. `onboard policy validate` checks more, such as the expressions, and decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.setting_schema import SettingSchema
from onboarding.domain.limits import rollout_limit as rollout_limit
from onboarding.domain.machine.managed_machines import ManagedKind
from onboarding.domain.policy import exemption
from onboarding.domain.policy import workspaces as workspace
from onboarding.domain.policy.conditions.operators import OPERATORS, Operator
from onboarding.domain.policy.policy import Effect
from onboarding.domain.reconcile.row import WaitingFor

type Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_SWITCH: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_CONDITION: Schema = {"$ref": "#/$defs/condition"}
_SCOPE: Schema = {"$ref": "#/$defs/scope"}
_DURATION: Schema = {"$ref": "#/$defs/duration"}
_IDS = r"/providers/[Mm]icrosoft\.[Aa]uthorization/policy([Dd]efinitions|[Aa]ssignments)/[^/]+$"

_KEYS: Mapping[str, tuple[str, Schema]] = {
    "name": ("The policy's name in rows, logs and commands.", _TEXT),
    "effect": ("Install, only say what would be installed, or nothing.", {"enum": list(Effect)}),
    "scope": ("Where it applies; everywhere without a scope.", {"$ref": "#/$defs/scopes"}),
    "notScopes": ("Where it does not apply, within its scope.", {"$ref": "#/$defs/scopes"}),
    "includeManaged": ("Which kinds of managed and short-lived VMs are included: true for all, or their names.", {}),
    "rule": ("Which VMs: a condition of Azure Policy.", _CONDITION),
    "parameters": ("Values of the parameters that the conditions name.", _OBJECT),
    "existenceCondition": ("When an installed extension meets the policy.", _CONDITION),
    "azurePolicy": ("Definitions or assignments of Azure Policy whose findings this policy handles.", {}),
    "brake": ("The rollout limit: installs an hour, and failures in a row that stop the policy.", {}),
    "source": ("Where an imported policy comes from; for people.", _OBJECT),
    "settings": ("The extension's public settings; {NAME} stands for an app setting.", _OBJECT),
    "protectedSettings": ("Its protected settings; name app settings here, never secrets.", _OBJECT),
    "supportTable": ("The name of the dated table of supported operating systems to use.", _TEXT),
    "exemptions": ("Scopes that are not selected, why, and until when.", {}),
    "waits": ("For each kind of waiting, the time between two checks, and when to give up.", {}),
    "settleDelay": ("How long a new VM has for its owner's first-boot installs.", _DURATION),
    "workspaces": ("Several workspaces: a VM reports to the first whose condition holds.", {}),
    "reconnect": ("Whether a VM that reports to another workspace is moved to this one.", _SWITCH),
    "autoUpgradeMinorVersion": ("Whether minor versions are upgraded, instead of the catalogue's choice.", _SWITCH),
}


def policy_schema(catalogue: Mapping[str, CatalogueEntry], kinds: Iterable[ManagedKind]) -> Schema:
    """The schema, with the extensions of this catalogue and these kinds of managed machine."""
    composed = {
        "azurePolicy": _one_or_many({"type": "string", "pattern": _IDS}),
        "brake": _closed({key: {"type": "integer", "minimum": 1} for key in rollout_limit.KEYS}),
        "includeManaged": {"anyOf": [_SWITCH, _one_or_many({"enum": [kind.name for kind in kinds]})]},
        "exemptions": _list(_closed(_EXEMPTION, required=["scope"])),
        "waits": _closed({kind.value: _SCHEDULE for kind in WaitingFor}),
        "workspaces": _list(_closed({key: _WORKSPACE[key] for key in workspace.KEYS}, required=["name"])),
    }
    properties = {
        key: {"description": text, **schema, **composed.get(key, {})} for key, (text, schema) in _KEYS.items()
    }
    # Editors offer the names of the enum; a schema from elsewhere does not have the user's own entries.
    own = {"type": "string", "pattern": r"^[a-z0-9][a-z0-9.-]*$"}
    properties["extension"] = {"description": "What is installed.", "anyOf": [{"enum": list(catalogue)}, own]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Policy of vm-onboarding",
        **_closed(properties, required=["name", "extension"]),
        "allOf": [_of_extension(entry) for entry in catalogue.values()],
        "$defs": {
            "condition": _condition(),
            "scope": {"type": "string", "pattern": r"^(/|(/[^/\s]+){2}|(/[^/\s]+){4}|(/[^/\s]+){8})$"},
            "scopes": _one_or_many(_SCOPE),
            "duration": {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"},
        },
    }


def _of_extension(entry: CatalogueEntry) -> Schema:
    """The part of the schema that depends on the extension."""
    then = {
        **{group: _object(schema) for group, schema in entry.groups.items()},
        "supportTable": {"enum": list(entry.support_tables)} if entry.support_tables else False,
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
        "allOf": _list(_CONDITION),
        "anyOf": _list(_CONDITION),
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


def _closed(properties: Mapping[str, Schema], *, required: Iterable[str] = ()) -> Schema:
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _one_or_many(item: Schema) -> Schema:
    return {"anyOf": [item, _list(item)]}


_SCHEDULE = _closed({"every": _list(_DURATION), "giveUpAfter": _DURATION})
_EXEMPTION_VALUES: Mapping[str, Schema] = {
    "scope": _SCOPE,
    "category": {"enum": list(exemption.CATEGORIES)},
    "expiresOn": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d"},
    "reason": _TEXT,
}
_EXEMPTION = {key: _EXEMPTION_VALUES[key] for key in exemption.KEYS}
_WORKSPACE: Mapping[str, Schema] = {
    "name": _TEXT,
    "when": _CONDITION,
    "settings": _OBJECT,
    "protectedSettings": _OBJECT,
}
