"""The settings of an imported policy: those of the template, as the catalogue's entry takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.setting_schema import SettingSchema
from onboarding.domain.catalog.setting_templates import has_template, readable
from onboarding.domain.policy.definitions.deployment_template import TemplateExtension, setting_name


def settings_of(
    template: TemplateExtension, entries: Sequence[CatalogueEntry | None]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """`settings` and `protectedSettings` of the policy, with notes on what is not as in the template."""
    notes = list(template.open)
    entry = next((each for each in entries if each is not None), None)
    public, protected = dict(template.settings), _without_secrets(template.protected_settings, notes)
    if entry is not None:
        public = with_booleans(entry.settings, public)
        public = {name: value for name, value in public.items() if value != entry.settings.at(name).default}
        public = _known(entry, "settings", public, notes)
        protected = _known(entry, "protectedSettings", protected, notes)
    found = {"settings": public, "protectedSettings": protected}
    return {name: value for name, value in found.items() if value}, tuple(notes)


def with_booleans(schema: SettingSchema, value: Any) -> Any:
    """The value with JSON booleans where the extension needs them: definitions often write them as texts."""
    if isinstance(value, Mapping):
        return {name: with_booleans(schema.at(name), each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_booleans(schema.each_item, each) for each in value]
    return str(value).lower() == "true" if schema.kind == "boolean" else value


def _without_secrets(values: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """The protected settings with an app setting in the place of a value that the template shows."""
    kept = {}
    for name, value in values.items():
        if readable(value):
            setting = setting_name(name)
            notes.append(f"protectedSettings.{name}: the definition shows its value; {{{setting}}} stands for it")
            value = f"{{{setting}}}"
        kept[name] = value
    return kept


def _known(entry: CatalogueEntry, group: str, values: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """The settings without those that the extension does not know by its entry: it would not get any of them."""
    schema = entry.groups[group]
    public, protected = (values, {}) if group == "settings" else ({}, values)
    problems = [each for each in entry.problems(public, protected, has_template) if each.path[0] == group]
    unknown = {str(each.path[1]) for each in problems if each.kind in ("unknown", "unfit") and len(each.path) > 1}
    for name in sorted(unknown & values.keys()):
        notes.append(f"{group}.{name}: the entry {entry.name} does not take it; left out")
    return {name: value for name, value in values.items() if name not in unknown or schema.is_open}
