"""Makes one of our policies from an Azure Policy definition, with notes on what cannot be taken over.

The rule, the parameters and the existence condition are taken over unchanged. Publisher, type, version and settings of
the extension are read from the deployment template, as far as its expressions can be computed without Azure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onboarding.domain.catalog.entry_of_request import entry_name, os_named
from onboarding.domain.json_access import mapping
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.policy.conditions import NOT_GIVEN
from onboarding.domain.policy.conditions.expression_syntax import is_expression
from onboarding.domain.policy.conditions.resource import EXTENSIONS
from onboarding.domain.policy.definitions.definition import Definition
from onboarding.domain.policy.definitions.deployment_template import TemplateExtension, read_template
from onboarding.domain.policy.definitions.member import effect_of
from onboarding.domain.policy.definitions.operating_system import os_of_rule

_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class Imported:
    """The imported policy."""

    policy: Mapping[str, Any]  # the content of the policy file
    notes: tuple[str, ...]  # what a person has to fill in or to know
    # The extension that the definition deploys; None if it does not say.
    extension: TemplateExtension | None = field(default=None, compare=False)


def import_definition(
    definition: Definition, values: Mapping[str, Any], catalogue: Mapping[tuple[str, str], str]
) -> Imported:
    """Make one policy. `catalogue` has the name of the entry for each (publisher, type), both in lower case.

    An undecided effect is a `ConditionError`: a policy must not be weaker than its definition."""
    given = definition.resolve(values)
    found = read_template(definition.details, given) or _from_existence(definition)
    entry = catalogue.get((found.publisher.lower(), found.type.lower()), "") if found else ""
    own = entry_name(found.type, system_of(found, definition.rule)) if found else ""
    notes = list(_notes(definition, given, found, entry))
    policy: dict[str, Any] = {
        "name": slug(definition.display_name) or slug(definition.name) or "policy",
        "effect": _effect(definition, given, notes),
        "extension": entry or own or "FILL-IN",
        "scope": [],
        "rule": definition.rule,
    }
    kept = {name: value for name, value in given.items() if value is not NOT_GIVEN}
    if kept:
        policy["parameters"] = kept
    if definition.details.get("existenceCondition") and _is_about_extensions(definition):
        policy["existenceCondition"] = definition.details["existenceCondition"]
    if found:
        policy |= {"settings": dict(found.settings), "protectedSettings": dict(found.protected_settings)}
    policy["source"] = _source(definition, found)
    if "/policydefinitions/" in definition.id.lower():
        policy["azurePolicy"] = [definition.id]
    return Imported({key: value for key, value in policy.items() if value not in ({}, None)}, tuple(notes), found)


def system_of(extension: TemplateExtension, rule: Mapping[str, Any]) -> OsType:
    """The operating system of an extension: what its names tell, else the rule that wants it."""
    named = os_named(extension.type, extension.publisher)
    return os_of_rule(rule) if named is OsType.UNKNOWN else named


def slug(text: str) -> str:
    """A name in small letters and dashes, without Azure's prefixes such as `[Deprecated]:`."""
    words = _words_of(text)
    return words if len(words) <= _MAX_NAME else words[:_MAX_NAME].rpartition("-")[0] or words[:_MAX_NAME]


def is_cut(text: str) -> bool:
    """Whether the name is not all of the text."""
    return len(_words_of(text)) > _MAX_NAME


def _words_of(text: str) -> str:
    bare = re.sub(r"^\[[^\]]*\]:?\s*", "", text)
    return re.sub(r"[^a-z0-9]+", "-", bare.lower()).strip("-")


def _source(definition: Definition, found: TemplateExtension | None) -> dict[str, Any]:
    source = {"id": definition.id, "version": definition.version, "displayName": definition.display_name}
    if found:
        source["extension"] = ".".join(part for part in (found.publisher, found.type, found.version) if part)
    return {key: value for key, value in source.items() if value}


def _effect(definition: Definition, given: Mapping[str, Any], notes: list[str]) -> str:
    value = effect_of(definition, given)
    for effect_name in ("deployIfNotExists", "auditIfNotExists", "disabled"):
        if value.lower() == effect_name.lower():
            return effect_name
    notes.append(f"effect: '{value}' has no counterpart; written as auditIfNotExists")
    return "auditIfNotExists"


def _notes(
    definition: Definition, given: Mapping[str, Any], found: TemplateExtension | None, entry: str
) -> Iterator[str]:
    yield "scope: an Azure assignment has it, not the definition; list your subscriptions"
    missing = [name for name, value in given.items() if value is NOT_GIVEN]
    if missing:
        yield f"parameters: no value and no default for {', '.join(missing)}"
    if definition.details.get("existenceCondition") and not _is_about_extensions(definition):
        yield f"existenceCondition: it is about {_subject(definition)}, not about an extension; left out"
    if found is None:
        yield f"extension: the definition does not say publisher and type (it is about {_subject(definition)})"
        return
    yield from found.open
    if not entry:
        handler = f"{found.publisher}/{found.type} {found.version}".rstrip()
        yield f"extension: the catalogue has no entry for {handler}; add one"


def _is_about_extensions(definition: Definition) -> bool:
    return _subject(definition).lower().endswith("/extensions")


def _subject(definition: Definition) -> str:
    return str(definition.details.get("type") or f"the effect {definition.effect}")


def _from_existence(definition: Definition) -> TemplateExtension | None:
    """Publisher and type from an audit's `existenceCondition`; None if it does not have both."""
    wanted: dict[str, str] = {}
    for leaf in _leaves(definition.details.get("existenceCondition")):
        path = str(leaf.get("field", "")).lower().removeprefix(f"{EXTENSIONS.lower()}/")
        if path in ("publisher", "type") and isinstance(leaf.get("equals"), str) and not is_expression(leaf["equals"]):
            wanted.setdefault(path, leaf["equals"])
    if set(wanted) != {"publisher", "type"}:
        return None
    return TemplateExtension(wanted["publisher"], wanted["type"], "", "", {}, {}, ())


def _leaves(condition: Any) -> Iterator[Mapping[str, Any]]:
    source = mapping(condition)
    if isinstance(source.get("allOf"), list):
        for part in source["allOf"]:
            yield from _leaves(part)
    else:
        yield source
