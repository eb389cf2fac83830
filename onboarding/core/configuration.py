"""From a policy's settings to the values that an extension is sent: `{NAME}` stands for an app setting.

A missing or unusable value is a problem that names the app setting to mend; it is reported, never raised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onboarding.core.catalog import CatalogueEntry
from onboarding.core.policy import Policy
from onboarding.core.secret import Secret

_REFERENCE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class ExtensionSettings:
    """What would be sent, and what is wrong with it."""

    public: Mapping[str, Any]
    protected: Mapping[str, Secret]
    problems: tuple[str, ...]


def resolve_settings(entry: CatalogueEntry, policy: Policy, app_settings: Mapping[str, str]) -> ExtensionSettings:
    """Fill a policy's settings in, and check them as the extension's handler would."""
    missing = tuple(
        f"app setting {name} is not set"
        for name in _references({**policy.settings, **policy.protected_settings})
        if not app_settings.get(name)
    )
    # A key without a value, `workspaceKey:`, is null to YAML: not given, and certainly not the text "None".
    public = {key: _fill(value, app_settings) for key, value in policy.settings.items() if value is not None}
    protected = {
        key: Secret(str(_fill(value, app_settings)))
        for key, value in policy.protected_settings.items()
        if value is not None
    }
    if policy.reconnect:
        public |= entry.reconnect_settings
    if missing:
        return ExtensionSettings(public, protected, missing)
    problems = tuple(_named(problem, policy) for problem in entry.problems(public, protected))
    if problems and policy.workspaces:
        problems = (*problems, f"none of the workspaces of policy {policy.name} takes this VM")
    return ExtensionSettings(public, protected, problems)


def known_settings(settings: Mapping[str, Any], app_settings: Mapping[str, str]) -> Mapping[str, Any]:
    """Of a policy's public settings, filled in, those whose app settings are there."""
    return {
        key: _fill(value, app_settings)
        for key, value in settings.items()
        if value is not None and all(app_settings.get(name) for name in _references({key: value}))
    }


def _fill(value: Any, app_settings: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(lambda match: app_settings.get(match[1], "").strip(), value)


def _references(values: Mapping[str, Any]) -> list[str]:
    found = (name for value in values.values() if isinstance(value, str) for name in _REFERENCE.findall(value))
    return list(dict.fromkeys(found))


def _named(problem: str, policy: Policy) -> str:
    """The problem, with the app settings that the value comes from."""
    place = problem.split(" ", 1)[0]
    group, _, key = place.partition(".")
    source = policy.settings if group == "settings" else policy.protected_settings
    names = _references({key: source.get(key)})
    return f"{problem} (app setting {', '.join(names)})" if names else problem
