"""Checks the schema of an extension's settings: keys that do not fit together, and defaults that cannot be sent."""

from __future__ import annotations

import re

from onboarding.domain.catalog.setting_schema import SettingSchema, problems, secret_values
from onboarding.domain.catalog.setting_templates import MACHINE_TEMPLATES, has_template, machine_templates_in, readable
from onboarding.domain.errors import ConfigurationError, as_written, known_names


def check_schema(schema: SettingSchema, place: str, *, secret: bool) -> None:
    """Raise ConfigurationError for the first error, at its place. `secret` is what holds where the schema does not
    say."""
    secret = secret if schema.secret is None else schema.secret
    _check_keys(schema, place)
    if schema.default is not None:
        _check_default(schema, f"{place}.default", secret)
    for name, each in (schema.properties or {}).items():
        check_schema(each, f"{place}.properties.{name}", secret=secret)
    if schema.items is not None:
        check_schema(schema.items, f"{place}.items", secret=secret)


def _check_keys(schema: SettingSchema, place: str) -> None:
    for key, kind, given in (
        ("properties", "object", schema.properties),
        ("required", "object", schema.required),
        ("items", "array", schema.items),
        ("pattern", "string", schema.pattern),
        ("format", "string", schema.format),
    ):
        if given and schema.kind != kind:
            problem = f"'{key}' has no meaning for the type {schema.kind or 'of this schema'}"
            raise ConfigurationError(f"{place}.{key}", problem, f"write `type: {kind}`, or remove it")
    known = schema.properties or {}
    for index, name in enumerate(schema.required):
        if name not in known and not schema.is_open:
            problem = f"the required property {as_written(name)} is not among the properties"
            raise ConfigurationError(f"{place}.required[{index}]", problem, known_names("properties", known, name))
    if schema.pattern is not None:
        try:
            re.compile(schema.pattern)
        except re.error as error:
            problem = f"{as_written(schema.pattern)} is not a regular expression: {error}"
            raise ConfigurationError(f"{place}.pattern", problem, "write a regular expression of Python") from error


def _check_default(schema: SettingSchema, place: str, secret: bool) -> None:
    for _, value in secret_values(schema, schema.default, secret):
        if problem := readable(value):
            fix = 'name an app setting, as "{NAME}", or leave it to the policies'
            raise ConfigurationError(place, f"the default of a secret setting {problem}", fix)
    for name in machine_templates_in(schema.default):
        if name not in MACHINE_TEMPLATES:
            problem = f"unknown template {as_written(f'{{{name}}}')}"
            raise ConfigurationError(place, problem, known_names("templates", MACHINE_TEMPLATES, name))
    for found in problems(schema, schema.default, (), has_template):
        where = f" at {found.path}" if found.path else ""
        problem = f"the default does not fit its own schema: it {found.text}{where}"
        raise ConfigurationError(place, problem, "correct the default or the schema")
