"""What `onboard extension test` tries: a policy for the entry, its settings, and a VM that the entry supports.

Secrets become app settings, as they are in Azure. A secret that the extension requires and nobody gave is made up, so
that nobody types a real one for a simulated VM.
"""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from msgspec import Struct

from onboarding.application.image_check import Checker
from onboarding.cli.io import BadInput
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.entry_file import IdentityNeed
from onboarding.domain.catalog.extension_settings import resolve_settings
from onboarding.domain.catalog.setting_schema import SettingSchema, schema_at
from onboarding.domain.catalog.setting_templates import app_settings_in, has_template, texts_in
from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy.policy_file import parse_policy
from onboarding.domain.policy.rule import compile_rule
from onboarding.loading.package_data import managed_kinds, reference_data

MACHINE = "vm-trial"
_GROUPS = ("settings", "protectedSettings")
_SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"  # the simulator's
_IDENTITY = (
    f"/subscriptions/{_SUBSCRIPTION}/resourceGroups/rg-fleet/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/id-trial"
)
# Images, and what the guest agent reports of them: the first that the entry supports is taken.
_MACHINES: Mapping[OsType, Sequence[tuple[str, str, str]]] = {
    OsType.LINUX: (
        ("Canonical:0001-com-ubuntu-server-jammy:22_04-lts", "ubuntu", "22.04"),
        ("Canonical:ubuntu-24_04-lts:server", "ubuntu", "24.04"),
        ("Canonical:0001-com-ubuntu-server-focal:20_04-lts", "ubuntu", "20.04"),
        ("Canonical:UbuntuServer:18.04-LTS", "ubuntu", "18.04"),
        ("Canonical:UbuntuServer:16.04-LTS", "ubuntu", "16.04"),
        ("Debian:debian-12:12-gen2", "debian", "12.5"),
        ("Debian:debian-11:11-gen2", "debian", "11.9"),
        ("RedHat:RHEL:9_4", "redhat", "9.4"),
        ("RedHat:RHEL:8.2", "redhat", "8.2"),
        ("RedHat:RHEL:7.7", "redhat", "7.7"),
        ("SUSE:sles-15-sp3:gen1", "sles", "15.3"),
        ("SUSE:SLES-BYOS:12-SP3", "suse", "12.3"),
        ("Oracle:Oracle-Linux:ol85-lvm", "oracle", "8.5"),
        ("Oracle:Oracle-Linux:7.6", "oracle", "7.6"),
        ("almalinux:almalinux-hpc:8_6-hpc-gen2", "almalinux", "8.6"),
        ("OpenLogic:CentOS:7_9-gen2", "centos", "7.9.2009"),
        ("microsoftcblmariner:cbl-mariner:cbl-mariner-2-gen2-fips", "mariner", "2.0"),
    ),
    OsType.WINDOWS: (
        ("MicrosoftWindowsServer:WindowsServer:2022-datacenter", "Windows Server 2022 Datacenter", "10.0.20348.1"),
        ("MicrosoftWindowsServer:WindowsServer:2025-datacenter", "Windows Server 2025 Datacenter", "10.0.26100.1"),
        (
            "MicrosoftWindowsServer:WindowsServer:2019-datacenter-gensecond",
            "Windows Server 2019 Datacenter",
            "10.0.17763.1217",
        ),
        (
            "MicrosoftWindowsServer:WindowsServer:2016-datacenter-smalldisk-g2",
            "Windows Server 2016 Datacenter",
            "10.0.14393.0",
        ),
        ("MicrosoftWindowsServer:WindowsServer:2012-R2-Datacenter", "Windows Server 2012 R2 Datacenter", "6.3.9600.1"),
        ("MicrosoftWindowsDesktop:windows-11:win11-23h2-ent", "Windows 11 Enterprise", "10.0.22631.1"),
        ("MicrosoftWindowsDesktop:Windows-10:win10-22h2-ent", "Windows 10 Enterprise", "10.0.19045.1"),
    ),
}


class Trial(Struct, frozen=True):
    """All that the simulator is given, and what was made up."""

    policy: Mapping[str, Any]  # a policy file
    app_settings: Mapping[str, str]
    secrets: Sequence[str]  # the values that no output may show
    vm: Mapping[str, Any]
    image: str  # publisher:offer:sku
    made_up: Sequence[str]  # the secrets and app settings that nobody gave

    def __repr__(self) -> str:
        return f"Trial({self.image})"


def prepare_trial(
    entry: CatalogueEntry,
    given: Sequence[str],
    catalogue: Mapping[str, CatalogueEntry],
    used_by: Policy | None,
    environment: Mapping[str, str],
) -> Trial:
    """The trial of an entry with settings `NAME=VALUE`, over those of the policy that uses it, if there is one. Raises
    BadInput for a setting that does not fit, or that the extension requires and nobody gave."""
    values: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
    app_settings: dict[str, str] = {}
    made_up: list[str] = []
    if used_by is not None:
        values = {"settings": _copied(used_by.settings), "protectedSettings": _copied(used_by.protected_settings)}
    for text in given:
        _put(entry, values, text)
    for group in _GROUPS:
        for path, text in texts_in(values[group]):
            for name in app_settings_in(text):
                if name not in app_settings:
                    value = environment.get(name, "")
                    app_settings[name] = value or _made_up(schema_at(entry.groups[group], path))
                    made_up += [] if value else [name]
    made_up += _make_up(entry.protected_settings, values["protectedSettings"], ())
    sent = {group: _with_secrets_named(entry.groups[group], values[group], group, app_settings) for group in _GROUPS}
    policy = {"name": "trial", "extension": entry.name, **_identity_key(entry.needs.identity), **sent}
    _check(entry, policy, app_settings)
    image, guest, version = _machine(entry)
    vm = {
        "name": MACHINE,
        "image": dict(zip(("publisher", "offer", "sku", "version"), [*image.split(":"), "latest"], strict=True)),
        "osType": entry.os_type.value,
        "guest": {"name": guest, "version": version},
        "identity": _identity(entry.needs.identity),
        "extensions": [_there(catalogue[name]) for name in entry.needs.extensions if name in catalogue],
    }
    named = (value for group in _GROUPS for _, value in entry.secret_values(group, sent[group]))
    secret = [app_settings[name] for value in named for name in app_settings_in(value)]
    return Trial(policy, app_settings, secret, vm, image, made_up)


def _copied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that can be changed at any depth."""
    copy: dict[str, Any] = json.loads(json.dumps(settings))
    return copy


def _put(entry: CatalogueEntry, values: dict[str, dict[str, Any]], text: str) -> None:
    """Put `NAME=VALUE` where the entry has that setting; `a.b=VALUE` is a property of an object."""
    name, equals, value = text.partition("=")
    named = any(name in (schema.properties or {}) for schema in entry.groups.values())
    path = [name] if named else name.split(".")  # the name of a setting may have dots, too
    group = path.pop(0) if path[0] in _GROUPS and len(path) > 1 else _group_of(entry, path[0])
    if not equals or not all(path):
        raise BadInput("--setting", f"{as_written(name)} has no value", "write it as NAME=VALUE")
    schema = entry.groups[group]
    holder = values[group]
    for step in path[:-1]:
        holder, schema = holder.setdefault(step, {}), schema.at(step)
        if not isinstance(holder, dict):
            raise BadInput("--setting", f"{as_written(name)} is in a setting that has a value", "give one of them")
    holder[path[-1]] = _parsed(schema.at(path[-1]), value, name)


def _group_of(entry: CatalogueEntry, name: str) -> str:
    for group, schema in entry.groups.items():
        if name in (schema.properties or {}):
            return group
    known = [each for schema in entry.groups.values() for each in schema.properties or {}]
    if entry.settings.is_open:
        return "settings"
    fix = known_names("settings", known, name) if known else f"remove it: {entry.name} takes no settings"
    raise BadInput("--setting", f"unknown setting {as_written(name)} of {entry.name}", fix)


def _parsed(schema: SettingSchema, value: str, name: str) -> Any:
    """The value as its type: a text as it is, anything else as YAML."""
    if schema.kind == "string":
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        problem = f"the value of {as_written(name)} cannot be read"
        raise BadInput("--setting", problem, "write it as YAML or JSON") from error


def _make_up(schema: SettingSchema, values: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Fill in each required text that has no value; gives their names."""
    for name in schema.required:
        each = schema.at(name)
        if each.kind == "object":
            yield from _make_up(each, values.setdefault(name, {}), (*path, name))
        elif name not in values and each.default is None and each.kind in ("", "string") and not each.pattern:
            values[name] = _made_up(each)
            yield ".".join((*path, name))


def _made_up(schema: SettingSchema) -> str:
    if schema.enum:
        return str(schema.enum[0])
    match schema.format:
        case "guid":
            return str(uuid.uuid4())
        case "base64":
            return base64.b64encode(secrets.token_bytes(48)).decode()
        case "uri":
            return f"https://made-up.example/{secrets.token_hex(12)}"
    return secrets.token_hex(max(16, schema.min_length or 0))


def _with_secrets_named(schema: SettingSchema, value: Any, group: str, app_settings: dict[str, str]) -> Any:
    """The value with the name of an app setting in place of each secret text; `app_settings` gets them."""

    def named(schema: SettingSchema, value: Any, secret: bool) -> Any:
        secret = secret if schema.secret is None else schema.secret
        if isinstance(value, Mapping):
            return {name: named(schema.at(name), each, secret) for name, each in value.items()}
        if isinstance(value, list):
            return [named(schema.each_item, each, secret) for each in value]
        if not secret or not isinstance(value, str) or has_template(value):
            return value
        name = f"TRIAL_SECRET_{len(app_settings) + 1}"
        app_settings[name] = value
        return f"{{{name}}}"

    return named(schema, value, group == "protectedSettings")


def _check(entry: CatalogueEntry, policy: Mapping[str, Any], app_settings: Mapping[str, str]) -> None:
    try:
        parsed = parse_policy(dict(policy), "trial", compile_rule, managed_kinds())
    except ConfigurationError as error:
        raise BadInput("--setting", error.problem, error.fix) from error
    if problems := resolve_settings(entry, parsed, app_settings, None).problems:
        fix = "give each with --setting NAME=VALUE; `onboard extension show` prints what the entry takes"
        raise BadInput("--setting", f"{entry.name} would refuse its settings: {'; '.join(problems)}", fix)


def _machine(entry: CatalogueEntry) -> tuple[str, str, str]:
    """The first machine that the entry supports, else the first of its system: then the row says why not."""
    checker = Checker(entry.support_table(""), reference_data())
    machines = _MACHINES[entry.os_type]
    return next((each for each in machines if checker.check(each[0]).supported), machines[0])


def _identity_key(need: IdentityNeed) -> Mapping[str, Any]:
    match need:
        case IdentityNeed.NONE:
            return {}
        case IdentityNeed.NAMED:
            return {"identity": {"use": "added", "add": _IDENTITY}}
    return {"identity": {"use": "any", "add": "system"}}


def _identity(need: IdentityNeed) -> Mapping[str, Any] | None:
    """The identity that the VM has, so that the extension can be requested at once."""
    match need:
        case IdentityNeed.NONE:
            return None
        case IdentityNeed.NAMED:
            return {"type": "UserAssigned", "userAssignedIdentities": {_IDENTITY: {}}}
    return {"type": "SystemAssigned"}


def _there(entry: CatalogueEntry) -> Mapping[str, str]:
    """An extension that the entry needs, as it is on the VM already."""
    version = {"version": entry.version} if entry.version else {}
    return {"name": entry.resource_name, "publisher": entry.publisher, "type": entry.type, **version}
