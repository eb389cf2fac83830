"""Dated support tables: which releases an extension's source names, and what that means for one machine.

A table is data with a date, because lists drift. A release too coarse to decide is `unknown`, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from onboarding.core.errors import ConfigurationError
from onboarding.core.facts import OsType
from onboarding.core.release import TITLES, Distribution, OsRelease, Witness, title_of
from onboarding.core.versions import refines

_ARCHITECTURES = ("x86_64", "arm64")


class Verdict(StrEnum):
    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SupportRow:
    """One release that the table names. Version 7 covers 7.9; 20.04 does not cover a bare 20."""

    distribution: Distribution
    version: str
    architectures: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True, slots=True)
class SupportTable:
    """The releases an extension takes, as one source had them on one day."""

    name: str
    date: str
    source: str
    rows: tuple[SupportRow, ...]

    def __str__(self) -> str:
        return f"table {self.name} ({self.date})"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one release; `row` is the table's row that decided, empty if none did."""

    verdict: Verdict
    row: str
    table: str
    reason: str


def judge(release: OsRelease, table: SupportTable) -> Judgement:
    """Whether the table names this release. The name of an own image is free text, so it leaves the answer open."""
    if release.witness is Witness.NAME:
        return _judgement(Verdict.UNKNOWN, "", table, f"{release.reason}; until then {table} is not asked")
    if release.os_type is OsType.WINDOWS or release.distribution == Distribution.WINDOWS:
        return _judgement(Verdict.UNSUPPORTED, "", table, f"{release.reason}: Windows, and {table} is for Linux")
    if not release.known:
        return _judgement(Verdict.UNKNOWN, "", table, f"{release.reason}; {table} cannot be asked")
    rows = tuple(row for row in table.rows if row.distribution == release.distribution)
    if not rows:
        named = TITLES[Distribution(release.distribution)] if release.distribution in Distribution else "this system"
        return _judgement(Verdict.UNSUPPORTED, "", table, f"{release.reason}, and {table} has no row for {named}")
    return _judge_rows(release, rows, table)


def _judge_rows(release: OsRelease, rows: tuple[SupportRow, ...], table: SupportTable) -> Judgement:
    architecture = release.architecture
    fitting = tuple(row for row in rows if architecture is None or architecture in row.architectures)
    if not fitting:
        reason = f"{release.reason}, and {table} has no row for {architecture}"
        return _judgement(Verdict.UNSUPPORTED, "", table, reason)
    row = next((row for row in fitting if refines(release.version, row.version)), None)
    if row is not None and _runs(row, architecture):
        return _judgement(Verdict.SUPPORTED, str(row), table, f"{release.reason}, which {table} names in row {row}")
    if row is not None or any(refines(row.version, release.version) for row in fitting):
        missing = "the architecture" if row is not None else "a fuller version"
        rest = ", ".join(row.version for row in fitting)
        cure = f"the guest agent or the override file must tell {missing}"
        return _judgement(Verdict.UNKNOWN, "", table, f"{release.reason}; {table} has {rest}, so {cure}")
    title = title_of(release.distribution, release.version)
    return _judgement(Verdict.UNSUPPORTED, "", table, f"{release.reason}, and {table} has no row for {title}")


def _runs(row: SupportRow, architecture: str | None) -> bool:
    """Images for Arm say so in their names, so an image that says nothing is for x86_64."""
    return (architecture or "x86_64") in row.architectures


def _judgement(verdict: Verdict, row: str, table: SupportTable, reason: str) -> Judgement:
    return Judgement(verdict, row, table.name, reason[:1].upper() + reason[1:])


def parse_table(name: str, raw: Mapping[str, Any]) -> SupportTable:
    """Read one table of a catalogue entry.

    `versions` maps a distribution to its versions, or to a mapping of architecture to versions; a plain list holds
    for the table's `architectures`."""
    place = f"supportTables.{name}"
    if not isinstance(raw, Mapping):
        raise ConfigurationError(place, "is no mapping", "give it date, source, architectures and versions")
    for key in ("date", "source", "versions"):
        if not raw.get(key):
            raise ConfigurationError(f"{place}.{key}", "is missing", "add it")
    architectures = tuple(_listed(f"{place}.architectures", raw.get("architectures") or ["x86_64"]))
    if not isinstance(raw["versions"], Mapping):
        raise ConfigurationError(f"{place}.versions", "is no mapping", 'write `ubuntu: ["22.04"]` lines')
    rows: list[SupportRow] = []
    for distribution, versions in raw["versions"].items():
        rows.extend(_rows(f"{place}.versions.{distribution}", distribution, versions, architectures))
    return SupportTable(name, str(raw["date"]), str(raw["source"]), tuple(rows))


def _rows(place: str, distribution: str, versions: Any, architectures: tuple[str, ...]) -> list[SupportRow]:
    if distribution not in Distribution:
        raise ConfigurationError(place, "names no distribution", f"use one of {', '.join(Distribution)}")
    if not isinstance(versions, Mapping):
        return [_row(place, distribution, version, architectures) for version in _listed(place, versions)]
    by_version: dict[str, list[str]] = {}
    for architecture, listed in versions.items():
        for version in _listed(place, listed):
            by_version.setdefault(version, []).append(architecture)
    return [_row(place, distribution, version, tuple(names)) for version, names in by_version.items()]


def _row(place: str, distribution: str, version: str, architectures: tuple[str, ...]) -> SupportRow:
    for name in architectures:
        if name not in _ARCHITECTURES:
            raise ConfigurationError(place, f"has the architecture {name!r}", f"use {' or '.join(_ARCHITECTURES)}")
    return SupportRow(Distribution(distribution), version, architectures)


def _listed(place: str, versions: Any) -> list[str]:
    if not isinstance(versions, list) or not all(isinstance(version, str) for version in versions):
        # An unquoted 8.10 is the number 8.1 to YAML.
        raise ConfigurationError(place, "is no list of texts", 'write it with quotes: ["7", "8.10"]')
    return versions
