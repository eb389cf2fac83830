"""Finds errors in the settings that a policy file gives an extension, as far as the file shows them: unknown and
missing settings, wrong types, and secrets in clear text. `catalog.extension_settings` checks the values of app
settings.

It reads the raw file, so that one error does not hide the others; no message quotes a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.setting_schema import Path, SettingSchema, problems, schema_at, written
from onboarding.domain.catalog.setting_templates import (
    MACHINE_TEMPLATES,
    has_template,
    machine_templates_in,
    readable,
    texts_in,
)
from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.policy.policy import Effect

_GROUPS = ("settings", "protectedSettings")
_BY_NAME = 'write the name of an app setting here, as "{NAME}", and give that a Key Vault reference'


def settings_errors(entry: CatalogueEntry, policy: Mapping[str, Any]) -> Iterator[ConfigurationError]:
    """Each error with its place in the file, such as `workspaces[1].settings.siet`."""
    listed = policy.get("workspaces")
    workspaces = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    yield from _wrong(entry, policy, "")
    for index, workspace in enumerate(workspaces):
        yield from _wrong(entry, workspace, f"workspaces[{index}].")
    if str(policy.get("effect") or Effect.DEPLOY).lower() != Effect.DEPLOY.lower():
        return  # nothing is sent
    sent_too = {"settings": entry.reconnect_settings if policy.get("reconnect") is True else {}}
    given = [_given(policy), _given(sent_too)]
    if not workspaces:
        yield from _missing(entry, given, "")
    for index, workspace in enumerate(workspaces):
        yield from _missing(entry, [*given, _given(workspace)], f"workspaces[{index}].")


def _group(part: Mapping[str, Any], group: str) -> Mapping[Any, Any]:
    """The settings of a group that have a name; `parse_policy` reports anything else."""
    values = part.get(group)
    return {name: value for name, value in values.items() if isinstance(name, str)} if isinstance(values, dict) else {}


def _given(part: Mapping[str, Any]) -> Mapping[Any, Any]:
    return {
        (group, name): True for group in _GROUPS for name, value in _group(part, group).items() if value is not None
    }


def _wrong(entry: CatalogueEntry, part: Mapping[str, Any], prefix: str) -> Iterator[ConfigurationError]:
    for group in _GROUPS:
        for name, value in _group(part, group).items():
            yield from _wrong_setting(entry, group, name, value, prefix)


def _wrong_setting(
    entry: CatalogueEntry, group: str, name: Any, value: Any, prefix: str
) -> Iterator[ConfigurationError]:
    """The errors of one setting, and of all that is in it."""
    given = {group: {name: value}}
    in_clear = {}
    for path, secret in entry.secret_values(group, given[group]):
        if problem := readable(secret):
            in_clear[(group, *path)] = problem
    for found in problems(entry.groups[group], given[group], (group,), has_template):
        if found.kind == "unknown":
            yield _unknown(entry, found.path, name, prefix)
        elif found.kind == "missing" and len(found.path) > 2:  # `_missing` finds the settings that are not there
            problem = f"missing setting {as_written(found.path[-1])}, which {entry.name} requires"
            yield ConfigurationError(prefix + written(found.path), problem, f"add it to {written(found.path[:-1])}")
        elif found.kind == "unfit" and not any(path[: len(found.path)] == found.path for path in in_clear):
            problem = f"setting {as_written(found.path[-1])} {found.text}"
            schema = schema_at(entry.groups[group], found.path[1:])
            yield ConfigurationError(prefix + written(found.path), problem, _fix(schema))
    for path, problem in in_clear.items():
        text = f"the value of the secret setting {as_written(path[-1])} {problem}"
        yield ConfigurationError(prefix + written(path), text, _BY_NAME)
    for path, text in texts_in(value, (group, str(name))):
        for template in machine_templates_in(text):
            if template not in MACHINE_TEMPLATES:
                problem = f"unknown template {as_written(f'{{{template}}}')}"
                fix = known_names("templates", MACHINE_TEMPLATES, template)
                yield ConfigurationError(prefix + written(path), problem, fix)


def _unknown(entry: CatalogueEntry, path: Path, name: Any, prefix: str) -> ConfigurationError:
    place, group = prefix + written(path), str(path[0])
    other = next(each for each in _GROUPS if each != group)
    if len(path) > 2:
        name = path[-1]
    elif name in (entry.groups[other].properties or {}):
        problem = f"setting {as_written(name)} of {entry.name} belongs in {other}, not in {group}"
        return ConfigurationError(place, problem, f"move it to {other}")
    known = schema_at(entry.groups[group], path[1:-1]).properties or {}
    fix = known_names("settings", known, name) if known else f"remove it: {entry.name} takes no {group}"
    return ConfigurationError(place, f"unknown setting {as_written(name)} of {entry.name}", fix)


def _fix(schema: SettingSchema) -> str:
    if schema.kind in ("string", ""):
        return 'write such a value, or name an app setting as "{NAME}"'
    return "write such a value here, not the name of an app setting, which holds a text"


def _missing(entry: CatalogueEntry, given: list[Mapping[Any, Any]], prefix: str) -> Iterator[ConfigurationError]:
    for group, schema in entry.groups.items():
        for name in schema.required:
            if schema.at(name).default is None and not any((group, name) in part for part in given):
                problem = f"missing setting '{name}', which {entry.name} requires"
                yield ConfigurationError(f"{prefix}{group}.{name}", problem, f"add it to {group}")
