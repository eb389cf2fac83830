"""Finds errors in the settings that a policy file gives an extension, as far as the file shows them: unknown and
missing settings, wrong types, and secrets in clear text. `catalog.extension_settings` checks the values of app
settings.

It reads the raw file, so that one error does not hide the others; no message quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry, SettingSpec
from onboarding.domain.catalog.extension_settings import is_unresolved
from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.masking import mask
from onboarding.domain.policy.policy import Effect

_REFERENCE = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
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
    given = [_given(policy), *([entry.reconnect_settings] if policy.get("reconnect") is True else [])]
    if not workspaces:
        yield from _missing(entry, given, "")
    for index, workspace in enumerate(workspaces):
        yield from _missing(entry, [*given, _given(workspace)], f"workspaces[{index}].")


def _specs(entry: CatalogueEntry, group: str) -> Mapping[str, SettingSpec]:
    specs = entry.settings if group == "settings" else entry.protected_settings
    return {spec.name: spec for spec in specs}


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
            place, spec = f"{prefix}{group}.{name}", _specs(entry, group).get(name)
            if spec is None:
                yield _unknown(entry, group, name, place)
            if value is None:
                continue
            secret = spec.secret if spec else group == "protectedSettings"
            if (problem := _in_clear(value)) and secret:
                yield ConfigurationError(
                    place, f"the value of the secret setting {as_written(name)} {problem}", _BY_NAME
                )
            elif spec is not None and (problem := _misfit(spec, value)):
                yield ConfigurationError(place, f"setting {as_written(name)} {problem}", _fix(spec))


def _unknown(entry: CatalogueEntry, group: str, name: object, place: str) -> ConfigurationError:
    other = next(each for each in _GROUPS if each != group)
    if name in _specs(entry, other):
        problem = f"setting {as_written(name)} of {entry.name} belongs in {other}, not in {group}"
        return ConfigurationError(place, problem, f"move it to {other}")
    known = _specs(entry, group)
    fix = known_names("settings", known, name) if known else f"remove it: {entry.name} takes no {group}"
    return ConfigurationError(place, f"unknown setting {as_written(name)} of {entry.name}", fix)


def _in_clear(value: object) -> str:
    """Why a value can be read in the file; empty if it only names app settings."""
    match value:
        case Mapping():
            return next(filter(None, map(_in_clear, value.values())), "")
        case list():
            return next(filter(None, map(_in_clear, value)), "")
        case bool() | None:
            return ""
        case str() if not value.strip():
            return ""
        case str() if is_unresolved(value):
            return "is a Key Vault reference, which works in app settings only"
        case str() if _REFERENCE.search(value) and mask(value) == value:
            return ""
    return "is readable in this file"


def _misfit(spec: SettingSpec, value: object) -> str:
    """Why the extension would refuse the value; empty if it is valid or depends on an app setting."""
    if isinstance(value, str) and spec.type == "string" and _REFERENCE.search(value):
        return ""
    return spec.problem(value)


def _fix(spec: SettingSpec) -> str:
    if spec.type == "string":
        return 'write such a value, or name an app setting as "{NAME}"'
    return "write such a value here, not the name of an app setting, which holds a text"


def _missing(entry: CatalogueEntry, given: list[Mapping[Any, Any]], prefix: str) -> Iterator[ConfigurationError]:
    for group in _GROUPS:
        for spec in _specs(entry, group).values():
            if spec.required and not any((group, spec.name) in part for part in given):
                place = f"{prefix}{group}.{spec.name}"
                problem = f"missing setting '{spec.name}', which {entry.name} requires"
                yield ConfigurationError(place, problem, f"add it to {group}")
