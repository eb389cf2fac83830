"""Dated support tables: which releases an extension's documentation lists, and what that means for one machine.

A table is data with a date, because such lists change. If a release is not known exactly enough, the verdict is
`unknown` and never a guess. Without a table, or with one that says `any`, only the OS type counts.
"""

import re
from collections.abc import Callable, Mapping
from copy import replace
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.image.os_release import TITLES, Distribution, OsRelease, OsSource, os_type_of, title_of
from onboarding.domain.image.version_notation import at_least, refines
from onboarding.domain.image.windows_releases import WindowsReleases
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.typed_file import FileMapping, Refused, Text, read_part

ANY = "any"
_LEAST = ">="
_NUMBERS = re.compile(r"\d+(?:\.\d+)*", re.ASCII)


class Verdict(StrEnum):
    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"


class SupportRow(Struct, frozen=True):
    """One release in the table: version 7 covers 7.9; 20.04 does not cover a bare 20."""

    distribution: Distribution
    version: str  # empty for any
    architectures: tuple[str, ...]  # `x86_64`, `arm64` or both
    least: bool = False  # newer versions are covered too
    condition: str = (
        ""  # what a VM needs besides the release, in words; only a person knows, so the verdict is `unknown`
    )

    def __str__(self) -> str:
        return f"{self.distribution} {self.versions}"

    @property
    def versions(self) -> str:
        """The versions as a table writes them: `18.04`, `>= 18.04`, `any`."""
        return f"{_LEAST} {self.version}" if self.least else self.version or ANY

    def covers(self, release: OsRelease) -> bool | None:
        """Whether the row covers a release of its distribution; None if the release is not known exactly enough."""
        if not self.version:
            return True
        if self.least:
            return at_least(release.version, self.version)
        if refines(release.version, self.version):
            return True
        return None if refines(self.version, release.version) else False


class WindowsRow(SupportRow, frozen=True, kw_only=True):
    """One release of Windows, such as `Server 2019` or `10`, with the known releases to compare it by."""

    releases: Callable[[], WindowsReleases]  # called when a machine with Windows is judged

    def covers(self, release: OsRelease) -> bool | None:
        product, releases = release.product, self.releases()
        if not product:
            return None
        if releases.includes(self.version, product):
            return True
        if self.least:
            return releases.at_least(product, self.version)
        return None if releases.includes(product, self.version) else False


class SupportTable(Struct, frozen=True):
    """The releases that an extension supports, as one source listed them on one day."""

    name: str  # empty for the table that stands for none
    date: str  # of the source, such as 2024-07-01
    source: str  # the address of the source
    rows: tuple[SupportRow, ...]  # empty if it supports every machine of its OS type, whatever its release
    os_type: OsType = OsType.LINUX

    def __str__(self) -> str:
        return f"table {self.name} ({self.date})" if self.name else f"any {self.os_type}"


def no_table(os_type: OsType) -> SupportTable:
    """The table of an entry that has none: it supports every machine of that OS type."""
    return SupportTable("", "", "", (), os_type)


class Judgement(Struct, frozen=True):
    """The verdict on one release."""

    verdict: Verdict
    row: str  # the table's row that decided; empty if none did
    table: str  # the table's name
    reason: str  # one sentence for people


def judge(release: OsRelease, table: SupportTable) -> Judgement:
    """Whether the table supports this release. An operating system that is known from an image's name alone stays
    unknown: such a name is free text."""
    os_type = OsType.WINDOWS if release.distribution == Distribution.WINDOWS else release.os_type
    if os_type not in (table.os_type, OsType.UNKNOWN):
        which = table if table.name else "the extension"
        reason = f"{release.reason}: {os_type}, and {which} is for {table.os_type}"
        return _judgement(Verdict.UNSUPPORTED, "", table, reason)
    if not table.rows:
        return _judge_os_type(release, os_type, table)
    if release.source is OsSource.NAME:
        return _judgement(Verdict.UNKNOWN, "", table, f"{release.reason}; until then {table} does not apply")
    if not release.known:
        return _judgement(Verdict.UNKNOWN, "", table, f"{release.reason}; {table} cannot decide")
    rows = tuple(row for row in table.rows if row.distribution == release.distribution)
    if not rows:
        named = TITLES[Distribution(release.distribution)] if release.distribution in Distribution else "this system"
        return _judgement(Verdict.UNSUPPORTED, "", table, f"{release.reason}, and {table} has no row for {named}")
    return _judge_rows(release, rows, table)


def _judge_os_type(release: OsRelease, os_type: OsType, table: SupportTable) -> Judgement:
    if os_type is OsType.UNKNOWN:
        reason = f"{release.reason}; any {table.os_type} is supported, if it is {table.os_type}"
        return _judgement(Verdict.UNKNOWN, "", table, reason)
    which = str(table) if table.name else "an extension without a table"
    reason = f"{release.reason}; {which} supports any {table.os_type}"
    return _judgement(Verdict.SUPPORTED, f"{ANY} {table.os_type}", table, reason)


def _judge_rows(release: OsRelease, rows: tuple[SupportRow, ...], table: SupportTable) -> Judgement:
    architecture = release.architecture
    fitting = tuple(row for row in rows if architecture is None or architecture in row.architectures)
    if not fitting:
        reason = f"{release.reason}, and {table} has no row for {architecture}"
        return _judgement(Verdict.UNSUPPORTED, "", table, reason)
    answers = tuple((row.covers(release), row) for row in fitting)
    row = next((row for covers, row in answers if covers), None)
    if row is not None and row.condition and _runs(row, architecture):
        reason = f"{release.reason}, which {table} lists in row {row} only {row.condition}"
        return _judgement(Verdict.UNKNOWN, "", table, reason)
    if row is not None and _runs(row, architecture):
        return _judgement(Verdict.SUPPORTED, str(row), table, f"{release.reason}, which {table} lists in row {row}")
    if row is not None or any(covers is None for covers, _ in answers):
        partly = release.product or (release.version and release.distribution != Distribution.WINDOWS)
        missing = "the architecture" if row is not None else "a fuller version" if partly else "the version"
        rest = ", ".join(row.versions for row in fitting)
        fix = f"the guest agent or the override file must give {missing}"
        return _judgement(Verdict.UNKNOWN, "", table, f"{release.reason}; {table} has {rest}, so {fix}")
    title = title_of(release.distribution, release.product or release.version)
    return _judgement(Verdict.UNSUPPORTED, "", table, f"{release.reason}, and {table} has no row for {title}")


def _runs(row: SupportRow, architecture: str | None) -> bool:
    """Whether the row covers the architecture. Images for Arm have it in their names, so None means x86_64."""
    return (architecture or "x86_64") in row.architectures


def _judgement(verdict: Verdict, row: str, table: SupportTable, reason: str) -> Judgement:
    return Judgement(verdict, row, table.name, reason[:1].upper() + reason[1:])


type Architecture = Literal["x86_64", "arm64"]
# An unquoted 8.10 is the number 8.1 to YAML.
_IN_QUOTES = f'write versions in quotes: ["7", "8.10"], "{_LEAST} 7", {ANY}'
type Version = Annotated[str, Meta(extra={"is": "a text", "fix": _IN_QUOTES})]
type Versions = Annotated[Version | tuple[Version, ...], Meta(extra={"is": "a list", "fix": _IN_QUOTES})]


class TableEntry(FileMapping, frozen=True, kw_only=True):
    """A support table as a catalogue entry has it."""

    what: ClassVar[str] = "a support table"

    date: Annotated[Text, Meta(description="Of the source, such as 2024-07-01.", extra={"is": "a date"})]
    source: Annotated[Text, Meta(description="Where the source is.", extra={"is": "its address"})]
    architectures: Annotated[
        tuple[Annotated[Architecture, Meta(extra={"one": "architecture", "many": "architectures"})], ...] | None,
        Meta(description="Of the distributions that name none; x86_64 without this key."),
    ] = None
    versions: Annotated[
        Literal["any"]
        | dict[
            str,
            Annotated[
                Version
                | tuple[Version, ...]
                | dict[Annotated[Architecture, Meta(extra={"one": "architecture", "many": "architectures"})], Versions],
                Meta(extra={"is": "a list", "fix": _IN_QUOTES}),
            ],
        ],
        Meta(
            description="By distribution its versions, or by architecture its versions; or any for every machine.",
            extra={"is": "a mapping", "fix": f'write `ubuntu: ["22.04"]` lines, or {ANY}'},
        ),
    ]

    conditions: Annotated[
        dict[str, dict[Version, str]] | None,
        Meta(
            description="By distribution and version, what a VM needs besides: the end of a sentence, such as"
            " `with a support contract`.",
            extra={"is": "a mapping", "fix": 'write `sles: {"12": "with a support contract"}`'},
        ),
    ] = None

    def __post_init__(self) -> None:
        for key in ("date", "source", "versions"):
            if not getattr(self, key):
                raise Refused(key, f"key '{key}' is empty", "write a value")
        if self.versions == ANY and self.architectures is not None:
            problem = f"'architectures' has no effect where versions is {ANY}"
            raise Refused("architectures", problem, "remove it, or name the distributions in versions")
        if self.versions == ANY and self.conditions:
            problem = f"'conditions' has no effect where versions is {ANY}"
            raise Refused("conditions", problem, "remove it, or name the distributions in versions")


class _Windows(Struct, frozen=True):
    """How a table's releases of Windows are read."""

    releases: Callable[[], WindowsReleases]
    tried: bool  # the names are known and written as this project does, so the releases need not be loaded

    def named(self, version: str, place: str) -> str:
        if self.tried:
            return version
        releases = self.releases()
        if not (name := releases.named(version)):
            problem = f"unknown release {as_written(version)} of Windows"
            raise ConfigurationError(place, problem, known_names("releases", releases.spans, version))
        return name


def parse_table(
    name: str,
    raw: object,
    releases: Callable[[], WindowsReleases],
    os_type: OsType = OsType.LINUX,
    *,
    tried: bool = False,
) -> SupportTable:
    """Read one table of a catalogue entry for that OS type. `releases` is called if the table names a release of
    Windows, unless the table was `tried` before.

    `versions` maps a distribution to its versions, or to a mapping of architecture to versions; a plain list is
    for the table's `architectures`. A version may be `">= 18.04"`; instead of a list there may be one such version, or
    `any`. `versions: any` supports every machine of the OS type. `conditions` maps a distribution's versions to what a
    VM needs besides, as the end of a sentence: `with a support contract`."""
    place = f"supportTables.{name}"
    table = read_part(raw, TableEntry, place)
    by_distribution = {} if isinstance(table.versions, str) else table.versions
    windows = _Windows(releases, tried)
    rows: list[SupportRow] = []
    for distribution, listed in by_distribution.items():
        here = f"{place}.versions.{distribution}"
        rows.extend(_rows(here, distribution, listed, table.architectures or ("x86_64",), os_type, windows))
    return SupportTable(
        name, str(table.date), str(table.source), _conditional(f"{place}.conditions", table, rows, windows), os_type
    )


def _conditional(place: str, table: TableEntry, rows: list[SupportRow], windows: _Windows) -> tuple[SupportRow, ...]:
    """The rows, with the conditions that the table gives for some of them."""
    for distribution, by_version in (table.conditions or {}).items():
        for version, condition in by_version.items():
            where = f"{place}.{distribution}"
            if not condition.strip():
                problem = f"an empty condition for {as_written(distribution)} {as_written(version)}"
                raise ConfigurationError(where, problem, "write the end of a sentence, or remove it")
            same = _row(where, distribution, version, (), windows) if distribution in Distribution else None
            if same is None or not any(str(row) == str(same) for row in rows):
                problem = (
                    f"a condition for {as_written(distribution)} {as_written(version)}, which versions does not list"
                )
                raise ConfigurationError(where, problem, "write the version as in versions")
            rows = [replace(row, condition=condition) if str(row) == str(same) else row for row in rows]
    return tuple(rows)


def _rows(
    place: str,
    distribution: str,
    versions: str | tuple[str, ...] | Mapping[Architecture, str | tuple[str, ...]],
    architectures: tuple[str, ...],
    os_type: OsType,
    windows: _Windows,
) -> list[SupportRow]:
    known = [each for each in Distribution if os_type_of(each) is os_type]
    if distribution not in known:
        written = as_written(distribution)
        problem = f"{written} is not {os_type}" if distribution in Distribution else f"unknown distribution {written}"
        raise ConfigurationError(place, problem, known_names("distributions", known, distribution))
    if not isinstance(versions, Mapping):
        return [_row(place, distribution, version, architectures, windows) for version in _versions(place, versions)]
    by_version: dict[str, list[str]] = {}
    for architecture, listed in versions.items():
        for version in _versions(place, listed):
            by_version.setdefault(version, []).append(architecture)
    return [_row(place, distribution, version, tuple(names), windows) for version, names in by_version.items()]


def _row(
    place: str,
    distribution: str,
    written: str,
    architectures: tuple[str, ...],
    windows: _Windows,
) -> SupportRow:
    least = written.startswith(_LEAST)
    version = "" if written == ANY else written.removeprefix(_LEAST).strip()
    if distribution == Distribution.WINDOWS and version:
        named = windows.named(version, place)
        return WindowsRow(Distribution.WINDOWS, named, architectures, least, releases=windows.releases)
    if least and not _NUMBERS.fullmatch(version):
        problem = f"{as_written(written)} is not a lowest version"
        raise ConfigurationError(place, problem, f'write {_LEAST} and a version, such as "{_LEAST} 18.04"')
    return SupportRow(Distribution(distribution), version, architectures, least)


def _versions(place: str, versions: str | tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(versions, str):
        return versions
    if versions == ANY or versions.startswith(_LEAST):
        return (versions,)
    raise ConfigurationError(place, f"{as_written(versions)} is not a list", _IN_QUOTES)
