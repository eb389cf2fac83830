"""The file of a catalogue entry: every key that it may have, what it means, and the JSON Schema for editors.

Files in the former format, with `osType` and flat settings, are read too: they are brought to this form first.

The module does without `from __future__ import annotations`: msgspec would compile each annotation at the start of each
process, which takes longer than reading the file.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, field

from onboarding.domain.catalog.setting_schema import NO_SETTINGS, SettingSchema
from onboarding.domain.errors import ConfigurationError
from onboarding.domain.machine.machine_kind import MachineKind
from onboarding.domain.typed_file import FileMapping, read_as

_Text = Annotated[str, Meta(min_length=1, extra={"is": "a text that is not empty", "fix": "write a text"})]
# The name becomes part of a row's key, the resource's name part of a URL. `$` alone would let a line break follow.
_Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9.-]{0,79}$(?!\n)",
        extra={"is": "the name of an extension", "fix": "use lower-case letters, digits and -"},
    ),
]


class IdentityNeed(StrEnum):
    """Which managed identity an extension needs on the machine."""

    NONE = "none"
    ANY = "any"
    SYSTEM = "system"  # the system-assigned one
    NAMED = "named"  # one that its settings name


class Needs(FileMapping, frozen=True, kw_only=True, omit_defaults=True):
    what: ClassVar[str] = "'needs'"
    identity: Annotated[IdentityNeed, Meta(description="The identity that it needs.")] = IdentityNeed.NONE
    extensions: Annotated[tuple[_Name, ...], Meta(description="The extensions that have to be there first.")] = ()


class Retirement(FileMapping, frozen=True, kw_only=True, omit_defaults=True):
    what: ClassVar[str] = "'retired'"
    date: Annotated[_Text, Meta(description="The day of its end, such as 2024-08-31.")]
    successor: Annotated[str, Meta(description="The name of the extension to use instead.")] = ""


class EntrySource(FileMapping, frozen=True, kw_only=True, omit_defaults=True):
    what: ClassVar[str] = "a source"
    date: Annotated[_Text, Meta(description="The day of its state, such as 2026-04-29.")]
    source: Annotated[_Text, Meta(description="What and where it is.")]


class EntryFile(FileMapping, frozen=True, kw_only=True, omit_defaults=True):
    what: ClassVar[str] = "the catalogue entry"
    name: Annotated[_Name, Meta(description="Its name in policies, rows and commands.")]
    display_name: Annotated[str, Meta(description="Its name for people.")] = ""
    publisher: Annotated[_Text, Meta(description="The publisher of its handler.")]
    type: Annotated[_Text, Meta(description="The type of its handler.")]
    version: Annotated[
        str,
        Meta(
            description="The version to request, as major.minor in quotes; without it none is requested.",
            pattern=r"^[0-9]+(\.[0-9]+){0,3}$(?!\n)",
            extra={"is": "a version", "fix": 'write major.minor in quotes, such as "1.10"'},
        ),
    ] = ""
    auto_upgrade_minor_version: Annotated[bool, Meta(description="Whether a newer minor version is installed.")] = True
    enable_automatic_upgrade: Annotated[
        bool | None,
        Meta(description="Whether the platform upgrades it when a version is published; default: not sent."),
    ] = None
    api_version: Annotated[_Text, Meta(description="The API version in templates.")] = "2024-07-01"
    resource_name: Annotated[
        str,
        Meta(
            description="The name of the extension resource on the machine.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$(?!\n)",
            extra={"is": "the name of a resource", "fix": "use letters, digits, - and _"},
        ),
    ]
    os: Annotated[
        Literal["linux", "windows"],
        Meta(
            description="The operating system that it is for.",
            extra={"is": "an operating system", "one": "operating system", "fix": "write linux or windows"},
        ),
    ]
    machines: Annotated[
        tuple[MachineKind, ...], Meta(description="The kinds of machine that it is for.", min_length=1)
    ] = (MachineKind.VM,)
    needs: Annotated[Needs, Meta(description="What has to be on the machine first.")] = Needs()
    retired: Annotated[Retirement | None, Meta(description="Until when it is supported.")] = None
    sources: Annotated[tuple[EntrySource, ...], Meta(description="Where the entry's facts come from, for people.")] = ()
    settings: Annotated[SettingSchema, Meta(description="The public settings, as the JSON Schema of an object.")] = (
        NO_SETTINGS
    )
    protected_settings: Annotated[SettingSchema, Meta(description="The protected settings, in the same way.")] = (
        NO_SETTINGS
    )
    reconnect_settings: Annotated[
        dict[str, Any], Meta(description="Settings that are sent too where a policy says `reconnect: true`.")
    ] = field(default_factory=dict)
    logs: Annotated[tuple[str, ...], Meta(description="The log files that it writes; * is allowed.")] = ()
    heartbeat: Annotated[
        str, Meta(description="The category of its agent's heartbeats in Log Analytics; default: it sends none.")
    ] = ""
    default_support_table: Annotated[
        str | int, Meta(description="The table for policies that name none; default: the first.")
    ] = ""
    support_tables: Annotated[
        dict[str | int, Any], Meta(description="Dated tables of operating systems; without any, all are supported.")
    ] = field(default_factory=dict)
    errors: Annotated[dict[str, Any], Meta(description="What its exit codes and error texts mean.")] = field(
        default_factory=dict
    )


def read_entry_file(raw: object, place: str) -> EntryFile:
    """A file in either format. `place` is its name, for errors. Raises ConfigurationError."""
    raw = {} if raw is None else raw  # an empty file
    if isinstance(raw, Mapping):
        raw = {key: value for key, value in raw.items() if value is not None}  # `key:` without a value
        if "osType" in raw and "os" not in raw:
            from onboarding.domain.catalog.former_entry import renewed  # most processes read no such file

            raw = renewed(raw, place)
    file = read_as(raw, EntryFile, place)
    for key, schema in (("settings", file.settings), ("protectedSettings", file.protected_settings)):
        if schema.kind != "object":
            problem = "the settings of an extension are an object"
            raise ConfigurationError(f"{place}: {key}", problem, "write `type: object` and `properties:`")
    return file
