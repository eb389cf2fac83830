"""Extensions as data: one entry says everything that the product needs to know about one VM extension.

The code names no extension. An entry is read from a mapping (a YAML file in `onboarding/catalog/`, or in the folder
`extensions/` below the user's policies), checked as a whole, and builds the body of the request to ARM. Values of
protected settings are held as `Secret`s.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.support_table import SupportTable, no_table, parse_table
from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
from onboarding.domain.failures.classification import ErrorTable, parse_errors
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.reference_data import ReferenceData
from onboarding.domain.secret import Secret

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_FORMATS = ("", "guid", "base64")
_TYPES = ("string", "boolean")
_API_VERSION = "2024-07-01"
# A log's path becomes part of a command on the VM, on Windows between single quotes, so it must not contain a command.
# By OS: what a path may look like, and an example.
_LOGS = {
    OsType.LINUX: (re.compile(r"/[-\w./*]+", re.ASCII), "/var/log/x/*.log, without spaces and quotes"),
    OsType.WINDOWS: (
        re.compile(r"[A-Za-z]:[\\/][-\w ./\\*()]+", re.ASCII),
        r"'C:\WindowsAzure\Logs\Plugins\X\*\*.log'",
    ),
}
# The name becomes part of a row's key, the resource's name part of a URL.
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,79}")
_RESOURCE_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}", re.ASCII)
KEYS = {
    "name",
    "displayName",
    "publisher",
    "type",
    "version",
    "autoUpgradeMinorVersion",
    "apiVersion",
    "resourceName",
    "osType",
    "retired",
    "settings",
    "protectedSettings",
    "reconnectSettings",
    "logs",
    "defaultSupportTable",
    "supportTables",
    "errors",
}


class SettingSpec(Struct, frozen=True):
    """One setting of an extension."""

    name: str
    type: str = "string"  # or `boolean`
    format: str = ""  # `guid` or `base64`; empty for any
    required: bool = False
    destination: bool = False  # it says where the agent reports to: a VM with another value is connected elsewhere
    secret: bool = False  # no file and no text may show its value; true for protected settings unless the entry says no

    def problem(self, value: object) -> str:
        """What is wrong with a value; empty if nothing is. Never quotes the value, which may be secret."""
        if self.type == "boolean":
            return "" if isinstance(value, bool) else "must be the JSON boolean true or false, not a string"
        if not isinstance(value, str) or not value.strip():
            return "must be a text that is not empty"
        if self.format == "guid" and not _GUID.fullmatch(value):
            return "must be a GUID such as 6f680a37-00c6-41c7-a93f-1437e3462574"
        if self.format == "base64":
            return _base64_problem(value)
        return ""


class CatalogueEntry(Struct, frozen=True):
    """One extension: its names, its settings, what it supports, and what its errors mean."""

    name: str  # as policies and rows name it
    display_name: str  # for people
    publisher: str  # of the handler
    type: str  # of the handler
    version: str  # the one to request, major.minor
    auto_upgrade_minor_version: bool
    api_version: str  # of the extension resource in templates
    resource_name: str  # the name that we give the extension resource
    os_type: OsType  # Linux or Windows
    retired: str  # a sentence with the date and the successor; empty if it is not retired
    settings: tuple[SettingSpec, ...]  # the public ones
    protected_settings: tuple[SettingSpec, ...]
    reconnect_settings: Mapping[str, Any]  # sent too when a VM is moved from another destination
    logs: tuple[str, ...]  # the files on the VM that the handler writes; `*` is allowed
    support_tables: Mapping[str, SupportTable]  # by name; empty if it supports every machine of its OS type
    default_support_table: str  # the name of the table that a policy uses if it names none; empty without tables
    errors: ErrorTable

    def support_table(self, name: str) -> SupportTable:
        """The table of that name; for an empty name the entry's default, or the one that takes every machine."""
        if not name and not self.support_tables:
            return no_table(self.os_type)
        try:
            return self.support_tables[name or self.default_support_table]
        except KeyError:
            problem = f"{self.name} has no support table {as_written(name)}"
            fix = known_names("tables", self.support_tables, name)
            raise ConfigurationError("supportTable", problem, fix) from None

    def problems(self, public: Mapping[str, Any], protected: Mapping[str, Secret]) -> tuple[str, ...]:
        """Everything in these settings that the handler would refuse. Settings with problems are never sent."""
        found = [_check(spec, "settings", public.get(spec.name)) for spec in self.settings]
        found += [
            _check(spec, "protectedSettings", secret.reveal() if (secret := protected.get(spec.name)) else None)
            for spec in self.protected_settings
        ]
        found += [f"settings.{name} is unknown to {self.name}" for name in _unknown(public, self.settings)]
        found += [
            f"protectedSettings.{name} is unknown to {self.name}"
            for name in _unknown(protected, self.protected_settings)
        ]
        return tuple(problem for problem in found if problem)


def extension_body(
    entry: CatalogueEntry,
    location: str,
    public: Mapping[str, Any],
    protected: Mapping[str, Secret],
    force_update_tag: str = "",
) -> dict[str, Any]:
    """The body of `PUT …/virtualMachines/{vm}/extensions/{name}`. It holds secrets in clear text, so it is only sent
    and never stored or logged.

    The keys are those of the extension's schema, and case-sensitive. A changed `forceUpdateTag` makes the handler run
    again although nothing else changed."""
    properties: dict[str, Any] = {
        "publisher": entry.publisher,
        "type": entry.type,
        "typeHandlerVersion": entry.version,
        "autoUpgradeMinorVersion": entry.auto_upgrade_minor_version,
        "settings": dict(public),
        "protectedSettings": {name: secret.reveal() for name, secret in protected.items()},
    }
    if force_update_tag:
        properties["forceUpdateTag"] = force_update_tag
    return {"location": location, "properties": properties}


def parse_entry(raw: object, place: str, reference: ReferenceData, *, shipped: bool = False) -> CatalogueEntry:
    """Read one catalogue file; `place` is its name, for errors. The tests check entries that are `shipped`, so their
    regular expressions, most of the work, are compiled when a failure needs them, and Windows releases are loaded when
    a machine has Windows."""
    try:
        return _entry(_closed_mapping(raw, "", KEYS), reference, shipped)
    except ConfigurationError as error:
        where = f"{place}: {error.place}" if error.place else place
        raise ConfigurationError(where, error.problem, error.fix) from error


def _entry(raw: Mapping[str, Any], reference: ReferenceData, shipped: bool) -> CatalogueEntry:
    for key in ("name", "publisher", "type", "version", "resourceName", "osType"):
        if (value := raw.get(key)) is None or value == "":
            raise ConfigurationError(key, f"missing key '{key}' in the catalogue entry", f"add `{key}:` and a text")
        if not isinstance(value, str):
            # An unquoted 1.10 is the number 1.1 to YAML.
            raise ConfigurationError(key, f"{as_written(value)} is not a text", "put it in quotes")
    if not _NAME.fullmatch(raw["name"]):
        problem = f"{as_written(raw['name'])} is not the name of an extension"
        raise ConfigurationError("name", problem, "use lower-case letters, digits and -")
    if not _RESOURCE_NAME.fullmatch(raw["resourceName"]):
        problem = f"{as_written(raw['resourceName'])} is not the name of a resource"
        raise ConfigurationError("resourceName", problem, "use letters, digits, - and _")
    if raw["osType"] not in (OsType.LINUX, OsType.WINDOWS):
        fix = f"use {OsType.LINUX} or {OsType.WINDOWS}"
        raise ConfigurationError("osType", f"unknown OS type {as_written(raw['osType'])}", fix)
    os_type = OsType(raw["osType"])
    tables = {
        str(name): parse_table(str(name), table, reference.windows, os_type, tried=shipped)
        for name, table in _closed_mapping(raw.get("supportTables"), "supportTables").items()
    }
    default = str(raw.get("defaultSupportTable", next(iter(tables), "")))
    if default not in tables and (tables or default):
        fix = known_names("tables", tables, default) if tables else "remove it, or add supportTables"
        raise ConfigurationError("defaultSupportTable", f"unknown support table {as_written(default)}", fix)
    return CatalogueEntry(
        name=raw["name"],
        display_name=raw.get("displayName", raw["name"]),
        publisher=raw["publisher"],
        type=raw["type"],
        version=raw["version"],
        auto_upgrade_minor_version=bool(raw.get("autoUpgradeMinorVersion", True)),
        api_version=str(raw.get("apiVersion", _API_VERSION)),
        resource_name=raw["resourceName"],
        os_type=os_type,
        retired=_retirement(raw),
        settings=_specs(raw.get("settings"), "settings"),
        protected_settings=_specs(raw.get("protectedSettings"), "protectedSettings"),
        reconnect_settings=_closed_mapping(raw.get("reconnectSettings"), "reconnectSettings"),
        logs=_logs(raw.get("logs"), os_type),
        support_tables=tables,
        default_support_table=default,
        errors=parse_errors(raw.get("errors") or {}, reference.errors(), tried=shipped),
    )


def _retirement(raw: Mapping[str, Any]) -> str:
    retired = _closed_mapping(raw.get("retired"), "retired", {"date", "successor"})
    if not retired:
        return ""
    if "date" not in retired:
        raise ConfigurationError("retired.date", "missing key 'date' in 'retired'", "add a date such as 2024-08-31")
    successor = f"; its successor is {retired['successor']}" if retired.get("successor") else ""
    return f"{raw.get('displayName', raw['name'])} was retired on {retired['date']}{successor}"


def _specs(raw: object, place: str) -> tuple[SettingSpec, ...]:
    keys = {"type", "format", "required", "destination", "secret"}
    secret = {"secret": place == "protectedSettings"}
    specs = tuple(
        SettingSpec(name=str(name), **{**secret, **_closed_mapping(spec, f"{place}.{name}", keys)})
        for name, spec in _closed_mapping(raw, place).items()
    )
    for spec in specs:
        is_secret: object = spec.secret  # as the file has it, whatever its type
        if not isinstance(is_secret, bool):
            problem = f"{as_written(is_secret)} is not true or false"
            raise ConfigurationError(f"{place}.{spec.name}.secret", problem, "write true or false, without quotes")
        if spec.type not in _TYPES or spec.format not in _FORMATS:
            key, known = ("type", _TYPES) if spec.type not in _TYPES else ("format", _FORMATS)
            value = getattr(spec, key)
            problem = f"unknown {key} {as_written(value)} of setting {as_written(spec.name)}"
            fix = known_names(f"{key}s", sorted(filter(None, known)), value)
            raise ConfigurationError(f"{place}.{spec.name}.{key}", problem, fix)
    return specs


def _logs(raw: object, os_type: OsType) -> tuple[str, ...]:
    listed = [] if raw is None else raw
    path_of, example = _LOGS[os_type]
    if not isinstance(listed, list):
        raise ConfigurationError("logs", f"{as_written(listed)} is not a list", f"write paths as {example}")
    for index, path in enumerate(listed):
        if not isinstance(path, str) or not path_of.fullmatch(path):
            problem = f"{as_written(path, 200)} is not an absolute path on {os_type}"
            raise ConfigurationError(f"logs[{index}]", problem, f"write paths as {example}")
    return tuple(listed)


def _closed_mapping(raw: object, place: str, keys: set[str] | None = None) -> Mapping[str, Any]:
    """The mapping, with no keys but these; an empty one for None."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise ConfigurationError(place, f"{as_written(raw)} is not a mapping", "write `key: value` lines")
    for key in raw:
        if keys is not None and key not in keys:
            owner = f"'{place}'" if place else "the catalogue entry"
            raise unknown_key(f"{place}.{key}".lstrip("."), key, owner, sorted(keys))
    return raw


def _check(spec: SettingSpec, group: str, value: object) -> str:
    if value is None:
        return f"{group}.{spec.name} is missing" if spec.required else ""
    problem = spec.problem(value)
    return f"{group}.{spec.name} {problem}" if problem else ""


def _unknown(given: Mapping[str, Any], specs: tuple[SettingSpec, ...]) -> list[str]:
    return sorted(str(name) for name in set(given) - {spec.name for spec in specs})


def _base64_problem(value: str) -> str:
    try:
        same = base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except (binascii.Error, ValueError):
        same = False
    return "" if same else "must be base64 that decodes and encodes to itself (copy the whole key, = signs included)"
