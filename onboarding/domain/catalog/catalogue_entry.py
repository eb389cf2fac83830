"""Extensions as data: one entry says everything that the product needs to know about one VM extension.

The code names no extension. An entry is read from a file (in `onboarding/catalog/`, or in the folder `extensions/`
below the user's policies), checked as a whole, and builds the body of the request to ARM.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import replace
from functools import cache
from typing import Any

from msgspec import Struct, to_builtins

from onboarding.domain.catalog.entry_file import EntryFile, EntrySource, Needs, read_entry_file
from onboarding.domain.catalog.handler_version import version_to_request
from onboarding.domain.catalog.protected_settings import ProtectedSettings
from onboarding.domain.catalog.schema_check import check_schema
from onboarding.domain.catalog.setting_schema import (
    Path,
    SettingProblem,
    SettingSchema,
    problems,
    secret_values,
)
from onboarding.domain.catalog.support_table import SupportTable, no_table, parse_table
from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.failures.classification import ErrorTable, parse_errors
from onboarding.domain.json_access import digest
from onboarding.domain.machine.machine_facts import InstalledExtension, OsType
from onboarding.domain.machine.machine_kind import MachineKind
from onboarding.domain.reference_data import ReferenceData

# A log's path becomes part of a command on the VM, on Windows between single quotes, so it must not contain a command.
# By OS: what a path may look like, and an example.
_LOGS = {
    OsType.LINUX: (r"/[-\w./*]+", "/var/log/x/*.log, without spaces and quotes"),
    OsType.WINDOWS: (r"[A-Za-z]:[\\/][-\w ./\\*()]+", r"'C:\WindowsAzure\Logs\Plugins\X\*\*.log'"),
}


class CatalogueEntry(Struct, frozen=True):
    """One extension: its names, its settings, what it supports, and what its errors mean."""

    name: str  # as policies and rows name it
    display_name: str  # for people
    publisher: str  # of the handler
    type: str  # of the handler
    version: str  # the one to request, major.minor; empty to request none
    auto_upgrade_minor_version: bool
    enable_automatic_upgrade: bool | None  # None to leave it to Azure
    api_version: str  # of the extension resource in templates
    resource_name: str  # the name that we give the extension resource
    os_type: OsType  # Linux or Windows
    machines: tuple[MachineKind, ...]  # the kinds that it is for
    needs: Needs  # what has to be on the machine first
    retired: str  # a sentence with the last day of its support and the successor; empty if it goes on
    settings: SettingSchema  # the public ones
    protected_settings: SettingSchema
    reconnect_settings: Mapping[str, Any]  # sent too when a VM is moved from another destination
    logs: tuple[str, ...]  # the files on the VM that the handler writes; `*` is allowed
    heartbeat: str  # the category of its heartbeats in Log Analytics; empty if it sends none
    support_tables: Mapping[str, SupportTable]  # by name; empty if it supports every machine of its OS type
    default_support_table: str  # the name of the table that a policy uses if it names none; empty without tables
    read_errors: Callable[[], ErrorTable]  # what its errors mean; most events have no failure to look up
    sources: tuple[EntrySource, ...] = ()  # where its facts come from, for people
    retirement_date: str = ""  # the last day of its support; empty if it goes on
    digest: str = ""  # of all that decides which machines get it and what is sent

    @property
    def errors(self) -> ErrorTable:
        """What its errors mean."""
        return self.read_errors()

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

    @property
    def groups(self) -> Mapping[str, SettingSchema]:
        """The schemas of both groups of settings, by the names of their keys."""
        return {"settings": self.settings, "protectedSettings": self.protected_settings}

    def problems(
        self,
        public: Mapping[str, Any],
        protected: Mapping[str, Any],
        is_open: Callable[[str], bool] = lambda text: False,
    ) -> tuple[SettingProblem, ...]:
        """Everything in these settings that the handler would refuse. Settings with problems are never sent. A text
        that `is_open` gets its value later."""
        given = {name: value for name, value in protected.items() if value != ""}  # an empty secret is a missing one
        return (
            *problems(self.settings, public, ("settings",), is_open),
            *problems(self.protected_settings, given, ("protectedSettings",), is_open),
        )

    def secret_values(self, group: str, values: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
        """The values of `settings` or `protectedSettings` that no text may show, each with its path."""
        return secret_values(self.groups[group], values, secret=group == "protectedSettings")


def extension_body(
    entry: CatalogueEntry,
    location: str,
    public: Mapping[str, Any],
    protected: ProtectedSettings,
    force_update_tag: str = "",
    there: InstalledExtension | None = None,
) -> dict[str, Any]:
    """The body of `PUT …/virtualMachines/{vm}/extensions/{name}`. It holds secrets in clear text, so it is only sent
    and never stored or logged. `there` is the extension on the machine, if there is one: it is never downgraded.

    The keys are those of the extension's schema, and case-sensitive. A changed `forceUpdateTag` makes the handler run
    again although nothing else changed."""
    properties: dict[str, Any] = {
        **handler_properties(entry if there is None else over(entry, there)),
        "settings": dict(public),
        "protectedSettings": dict(protected.reveal()),
    }
    if force_update_tag:
        properties["forceUpdateTag"] = force_update_tag
    return {"location": location, "properties": properties}


def over(entry: CatalogueEntry, there: InstalledExtension) -> CatalogueEntry:
    """The entry as a request for an extension that is on the machine names its handler. The version is never lower, and
    minor versions are upgraded as they were: ARM refuses to change that for an installed handler."""
    minor = there.auto_upgrade_minor_version
    minor = entry.auto_upgrade_minor_version if minor is None else minor
    version = version_to_request(entry.version, there.version, there.handler_version, minor_upgrades=minor)
    if (version, minor) == (entry.version, entry.auto_upgrade_minor_version):
        return entry
    return replace(entry, version=version, auto_upgrade_minor_version=minor)


def handler_properties(entry: CatalogueEntry, *, upgrades: bool = True) -> dict[str, Any]:
    """The properties that name the handler and say how it is upgraded. Without `upgrades` the platform decides on minor
    versions."""
    version = {"typeHandlerVersion": entry.version} if entry.version else {}
    minor = {"autoUpgradeMinorVersion": entry.auto_upgrade_minor_version} if upgrades else {}
    automatic = entry.enable_automatic_upgrade
    return {
        "publisher": entry.publisher,
        "type": entry.type,
        **version,
        **minor,
        **({} if automatic is None else {"enableAutomaticUpgrade": automatic}),
    }


def parse_entry(raw: object, place: str, reference: ReferenceData, *, shipped: bool = False) -> CatalogueEntry:
    """Read one catalogue file; `place` is its name, for errors. The tests check entries that are `shipped`, so their
    regular expressions, most of the work, are compiled when a failure needs them, and Windows releases are loaded when
    a machine has Windows."""
    file = read_entry_file(raw, place)
    try:
        return _entry(file, reference, shipped)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error.place}", error.problem, error.fix) from error


def _entry(file: EntryFile, reference: ReferenceData, shipped: bool) -> CatalogueEntry:
    os_type = OsType.WINDOWS if file.os == "windows" else OsType.LINUX
    tables = {
        str(name): parse_table(str(name), table, reference.windows, os_type, tried=shipped)
        for name, table in file.support_tables.items()
    }
    default = str(file.default_support_table) or next(iter(tables), "")
    if default not in tables and (tables or default):
        fix = known_names("tables", tables, default) if tables else "remove it, or add supportTables"
        raise ConfigurationError("defaultSupportTable", f"unknown support table {as_written(default)}", fix)
    if file.name in file.needs.extensions:
        place = f"needs.extensions[{file.needs.extensions.index(file.name)}]"
        raise ConfigurationError(place, "the extension needs itself", "remove it, or name another extension")
    entry = CatalogueEntry(
        name=file.name,
        display_name=file.display_name or file.name,
        publisher=file.publisher,
        type=file.type,
        version=file.version,
        auto_upgrade_minor_version=file.auto_upgrade_minor_version,
        enable_automatic_upgrade=file.enable_automatic_upgrade,
        api_version=file.api_version,
        resource_name=file.resource_name,
        os_type=os_type,
        machines=file.machines,
        needs=file.needs,
        retired=_retirement(file),
        settings=file.settings,
        protected_settings=file.protected_settings,
        reconnect_settings=file.reconnect_settings,
        logs=_logs(file.logs, os_type),
        heartbeat=file.heartbeat,
        support_tables=tables,
        default_support_table=default,
        read_errors=_errors(file, reference, shipped),
        sources=file.sources,
        retirement_date=file.retired.date if file.retired else "",
        digest=_digest(file),
    )
    for group, schema in entry.groups.items():
        check_schema(schema, group, secret=group == "protectedSettings")
    return entry


def _digest(file: EntryFile) -> str:
    """A digest of what decides; names for people, logs, and what errors mean do not."""
    handler = [file.publisher, file.type, file.version, file.auto_upgrade_minor_version, file.enable_automatic_upgrade]
    schemas = [_undescribed(to_builtins(schema)) for schema in (file.settings, file.protected_settings)]
    machines = [file.os, list(file.machines), str(file.default_support_table), file.support_tables]
    return digest([handler, schemas, file.reconnect_settings, machines, to_builtins(file.needs)])[:8]


def _undescribed(schema: Any) -> Any:
    """The schema without its descriptions; a property may have that name."""
    if not isinstance(schema, dict):
        return schema
    kept = {key: each for key, each in schema.items() if key not in ("description", "properties", "items")}
    properties = {name: _undescribed(each) for name, each in (schema.get("properties") or {}).items()}
    return {**kept, "properties": properties, "items": _undescribed(schema.get("items"))}


def _errors(file: EntryFile, reference: ReferenceData, shipped: bool) -> Callable[[], ErrorTable]:
    """The error table: read at its first use if the tests have checked it, else now, so that a mistake is named."""

    @cache
    def read() -> ErrorTable:
        return parse_errors(file.errors, reference.errors(), tried=shipped)

    if not shipped:
        read()
    return read


def _retirement(file: EntryFile) -> str:
    if file.retired is None:
        return ""
    successor = f"; its successor is {file.retired.successor}" if file.retired.successor else ""
    return f"The support of {file.display_name or file.name} ends on {file.retired.date}{successor}"


def _logs(listed: tuple[str, ...], os_type: OsType) -> tuple[str, ...]:
    path_of, example = _LOGS[os_type]
    for index, path in enumerate(listed):
        if not re.fullmatch(path_of, path, re.ASCII):
            problem = f"{as_written(path, 200)} is not an absolute path on {os_type}"
            raise ConfigurationError(f"logs[{index}]", problem, f"write paths as {example}")
    return listed
