"""Turns a policy's settings into the values that are sent to an extension.

What the policy leaves out gets the entry's default, and templates get their values. A missing or unusable value is a
problem that names the app setting to fix; it is returned, never raised. The platform replaces a reference
`@Microsoft.KeyVault(…)` by the secret in Key Vault; if it cannot, the app setting holds the reference itself, which is
never sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.protected_settings import ProtectedSettings
from onboarding.domain.catalog.setting_schema import SettingProblem, value_at, with_defaults, written
from onboarding.domain.catalog.setting_templates import (
    MACHINE_TEMPLATES,
    MachineValues,
    app_settings_in,
    fill,
    has_machine_template,
    is_unresolved,
    machine_templates_in,
    secret_pieces,
    texts_in,
)
from onboarding.domain.errors import known_names
from onboarding.domain.policy.policy import Policy

UNRESOLVED_WHY = "is a Key Vault reference that was not resolved"
UNRESOLVED_FIX = (
    "give the app's identity the role Key Vault Secrets User on the secret, and check that the secret is there and"
    " enabled, and that the vault's network allows the app"
)
UNRESOLVED = f"{UNRESOLVED_WHY}: {UNRESOLVED_FIX}"

type Groups = Mapping[str, Mapping[str, Any]]


class ExtensionSettings(Struct, frozen=True):
    """The settings to send, and what is wrong with them."""

    public: Mapping[str, Any]
    protected: ProtectedSettings
    problems: tuple[str, ...]  # sentences for people; empty if the settings can be sent


NO_SETTINGS = ExtensionSettings({}, ProtectedSettings({}, ()), ())
"""For a request that sends none."""


def resolve_settings(
    entry: CatalogueEntry, policy: Policy, app_settings: Mapping[str, str], machine: MachineValues | None
) -> ExtensionSettings:
    """Fill in a policy's settings, and check them as the extension's handler would. Without a machine, templates of the
    machine stay as they are, and what they will be is not checked."""
    given = given_settings(entry, policy)
    unusable = (*_missing(given, app_settings), *_unknown(given))
    unresolved = _unresolved(given, app_settings)
    usable = {
        group: {name: each for name, each in values.items() if (group, str(name)) not in unresolved}
        for group, values in given.items()
    }
    public, protected = (fill(values, app_settings, machine) for values in usable.values())
    secrets = [value for group, values in usable.items() for _, value in entry.secret_values(group, values)]
    # The secrets of the public settings too, so that our texts mask them although ARM shows them.
    hidden = ProtectedSettings(protected, [piece for each in secrets for piece in secret_pieces(each, app_settings)])
    if policy.reconnect:
        public |= entry.reconnect_settings
    if unusable or unresolved:
        return ExtensionSettings(public, hidden, (*unusable, *unresolved.values()))
    found = entry.problems(public, protected, has_machine_template if machine is None else lambda text: False)
    problems = tuple(_with_app_settings(problem, entry, given) for problem in found)
    if problems and policy.workspaces:
        problems = (*problems, f"no workspace of policy {policy.name} matches this VM")
    return ExtensionSettings(public, hidden, problems)


def given_settings(entry: CatalogueEntry, policy: Policy) -> Groups:
    """A policy's settings and the entry's defaults for what it leaves out, with their templates, by group."""
    given = {"settings": policy.settings, "protectedSettings": policy.protected_settings}
    return {group: with_defaults(schema, given[group]) for group, schema in entry.groups.items()}


def known_settings(
    settings: Mapping[str, Any], app_settings: Mapping[str, str], machine: MachineValues | None
) -> Mapping[str, Any]:
    """Those settings whose app settings are set, filled in."""
    return fill(
        {
            name: value
            for name, value in settings.items()
            if all(app_settings.get(each) for each in app_settings_in(value))
            and not _unresolved_names(value, app_settings)
            and not is_unresolved(value)
        },
        app_settings,
        machine,
    )


def are_known(settings: Mapping[str, Any], app_settings: Mapping[str, str]) -> bool:
    """Whether every app setting that these settings name is set to a value."""
    return all(
        app_settings.get(name) and not is_unresolved(app_settings[name]) for name in app_settings_in(settings)
    ) and not is_unresolved(settings)


def _missing(given: Groups, app_settings: Mapping[str, str]) -> tuple[str, ...]:
    names = app_settings_in(list(given.values()))
    return tuple(f"app setting {name} is not set" for name in names if not app_settings.get(name))


def _unknown(given: Groups) -> Iterator[str]:
    for group, values in given.items():
        for path, text in texts_in(values, (group,)):
            for name in machine_templates_in(text):
                if name not in MACHINE_TEMPLATES:
                    known = known_names("templates", MACHINE_TEMPLATES, name)
                    yield f"{written(path)} has the unknown template {{{name}}}; {known}"


def _unresolved(given: Groups, app_settings: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """By setting: the first problem of each one that holds a Key Vault reference instead of the secret."""
    found: dict[tuple[str, str], str] = {}
    for group, values in given.items():
        for path, text in texts_in(values, (group,)):
            place, setting = written(path), (group, str(path[1]))
            if names := _unresolved_names(text, app_settings):
                found.setdefault(setting, f"{place}, from app setting {', '.join(names)}, {UNRESOLVED}")
            elif is_unresolved(text):
                problem = (
                    f"{place} is a Key Vault reference, which a policy file cannot hold: put it in an app setting of"
                    " the function app, and write the setting's name here, as {NAME}"
                )
                found.setdefault(setting, problem)
    return found


def _unresolved_names(value: object, app_settings: Mapping[str, str]) -> list[str]:
    return [name for name in app_settings_in(value) if is_unresolved(app_settings.get(name, ""))]


def _with_app_settings(problem: SettingProblem, entry: CatalogueEntry, given: Groups) -> str:
    """The problem, with the names of the app settings that the value comes from."""
    text = f"{problem} to {entry.name}" if problem.kind == "unknown" else str(problem)
    names = app_settings_in(value_at(given, problem.path))
    return f"{text}, from app setting {', '.join(names)}" if names else text
