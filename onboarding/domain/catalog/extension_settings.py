"""Turns a policy's settings into the values that are sent to an extension: `{NAME}` stands for an app setting.

A missing or unusable value is a problem that names the app setting to fix; it is returned, never raised. The platform
replaces a reference `@Microsoft.KeyVault(…)` by the secret in Key Vault; if it cannot, the app setting holds the
reference itself, which is never sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.policy.policy import Policy
from onboarding.domain.secret import Secret

_REFERENCE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KEY_VAULT = re.compile(r"@\s*Microsoft\.KeyVault\s*\(", re.IGNORECASE)
UNRESOLVED_WHY = "is a Key Vault reference that was not resolved"
UNRESOLVED_FIX = (
    "give the app's identity the role Key Vault Secrets User on the secret, and check that the secret is there and"
    " enabled, and that the vault's network allows the app"
)
UNRESOLVED = f"{UNRESOLVED_WHY}: {UNRESOLVED_FIX}"


class ExtensionSettings(Struct, frozen=True):
    """The settings to send, and what is wrong with them."""

    public: Mapping[str, Any]
    protected: Mapping[str, Secret]
    problems: tuple[str, ...]  # sentences for people; empty if the settings can be sent


def resolve_settings(entry: CatalogueEntry, policy: Policy, app_settings: Mapping[str, str]) -> ExtensionSettings:
    """Fill in a policy's settings, and check them as the extension's handler would."""
    given = {**policy.settings, **policy.protected_settings}
    missing = tuple(f"app setting {name} is not set" for name in _references(given) if not app_settings.get(name))
    unresolved = _unresolved(policy, app_settings)
    # A key without a value, `workspaceKey:`, is null in YAML: it counts as absent and must not become the text "None".
    public = {
        key: _fill(value, app_settings)
        for key, value in policy.settings.items()
        if value is not None and f"settings.{key}" not in unresolved
    }
    protected = {
        key: Secret(str(_fill(value, app_settings)))
        for key, value in policy.protected_settings.items()
        if value is not None and f"protectedSettings.{key}" not in unresolved
    }
    for spec in entry.settings:
        if spec.secret and spec.name in public:
            Secret(str(public[spec.name]))  # registers the value, so that our texts mask it although ARM shows it
    if policy.reconnect:
        public |= entry.reconnect_settings
    if missing or unresolved:
        return ExtensionSettings(public, protected, (*missing, *unresolved.values()))
    problems = tuple(_with_app_settings(problem, policy) for problem in entry.problems(public, protected))
    if problems and policy.workspaces:
        problems = (*problems, f"no workspace of policy {policy.name} matches this VM")
    return ExtensionSettings(public, protected, problems)


def known_settings(settings: Mapping[str, Any], app_settings: Mapping[str, str]) -> Mapping[str, Any]:
    """Those of a policy's public settings whose app settings are set, filled in."""
    return {
        key: _fill(value, app_settings)
        for key, value in settings.items()
        if value is not None
        and all(app_settings.get(name) for name in _references({key: value}))
        and not _unresolved_names(value, app_settings)
        and not is_unresolved(value)
    }


def is_unresolved(value: object) -> bool:
    """Whether a value, or a value in it, is a Key Vault reference that the platform did not replace."""
    match value:
        case str():
            return bool(_KEY_VAULT.search(value))
        case Mapping():
            return any(is_unresolved(each) for each in value.values())
        case list():
            return any(is_unresolved(each) for each in value)
    return False


def _unresolved(policy: Policy, app_settings: Mapping[str, str]) -> dict[str, str]:
    """By setting: the problem of each one that holds a Key Vault reference instead of the secret."""
    found: dict[str, str] = {}
    for group, settings in (("settings", policy.settings), ("protectedSettings", policy.protected_settings)):
        for key, value in settings.items():
            place = f"{group}.{key}"
            if names := _unresolved_names(value, app_settings):
                found[place] = f"{place}, from app setting {', '.join(names)}, {UNRESOLVED}"
            elif is_unresolved(value):
                found[place] = (
                    f"{place} is a Key Vault reference, which a policy file cannot hold: put it in an app setting of"
                    " the function app, and write the setting's name here, as {NAME}"
                )
    return found


def _unresolved_names(value: object, app_settings: Mapping[str, str]) -> list[str]:
    return [name for name in _references({"": value}) if is_unresolved(app_settings.get(name, ""))]


def _fill(value: Any, app_settings: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return _REFERENCE.sub(lambda match: app_settings.get(match[1], "").strip(), value)


def _references(values: Mapping[str, Any]) -> list[str]:
    found = (name for value in values.values() if isinstance(value, str) for name in _REFERENCE.findall(value))
    return list(dict.fromkeys(found))


def _with_app_settings(problem: str, policy: Policy) -> str:
    """The problem, with the names of the app settings that the value comes from."""
    place = problem.split(" ", 1)[0]
    group, _, key = place.partition(".")
    source = policy.settings if group == "settings" else policy.protected_settings
    names = _references({key: source.get(key)})
    return f"{problem}, from app setting {', '.join(names)}" if names else problem
