"""The artifact repository: the versions of each handler, and the systems that each supports (`handlers.yaml`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("handlers.yaml")


@dataclass(frozen=True, slots=True)
class Release:
    """One published version; `systems` by architecture; None: it installs on every system."""

    version: str
    systems: Mapping[str, Mapping[str, tuple[str, ...]]] | None

    def installs_on(self, os_name: str, os_version: str, architecture: str) -> bool:
        if self.systems is None:
            return True
        rows = self.systems.get(architecture, {})
        name = os_name.lower().partition("-")[0]
        return any(
            name.startswith(system) and any(_matches(row, os_version) for row in versions)
            for system, versions in rows.items()
        )


@dataclass(frozen=True, slots=True)
class Handler:
    publisher: str
    type: str
    command: str
    settings: str
    """Which settings it checks: `workspace`, `agent`, or none."""
    releases: tuple[Release, ...]
    os: str = ""
    """The type of system that it runs on at all, `linux` or `windows`; empty: on both."""
    generic: bool = False
    """Whether it exists in every version."""

    @property
    def wants_workspace(self) -> bool:
        return self.settings == "workspace"

    def runs_on(self, os_name: str) -> bool:
        """Whether its files can run on that system at all."""
        return not self.os or os_name.lower().startswith("windows") is (self.os == "windows")

    @property
    def name(self) -> str:
        return f"{self.publisher}.{self.type}"


class Artifacts:
    """Handlers by publisher and type; `newest` hides later versions, and handlers whose names fit a pattern of
    `generic` exist besides those of the file."""

    def __init__(self, newest: Mapping[str, str], generic: Sequence[str] = (), file: Path = _FILE) -> None:
        self._generic = tuple(pattern.lower() for pattern in generic)
        self._newest = {handler.lower(): version for handler, version in newest.items()}
        self._sources: list[Callable[[], Iterable[Handler]]] = []
        self._handlers = {h.name.lower(): h for h in map(_handler, yaml.safe_load(file.read_text()))}

    def publish(self, source: Callable[[], Iterable[Handler]]) -> None:
        """Handlers that exist too; the source is asked for one that is not known, since it may have more by then."""
        self._sources.append(source)

    @property
    def handlers(self) -> Sequence[Handler]:
        """Those of the file."""
        return tuple(self._handlers.values())

    def published(self, handler: Handler) -> list[str]:
        """The versions that can be installed, the oldest first."""
        limit = self._limit(handler)
        versions = (release.version for release in handler.releases)
        return sorted((each for each in versions if _numbers(each)[: len(limit)] <= limit), key=_numbers)

    def find(self, publisher: str, type_: str) -> Handler | None:
        name = f"{publisher}.{type_}"
        found = self._handlers.get(name.lower())
        published = (handler for source in self._sources for handler in source())
        found = found or next((each for each in published if each.name.lower() == name.lower()), None)
        if found is None and any(fnmatchcase(name.lower(), pattern) for pattern in self._generic):
            return Handler(publisher, type_, "shim", "", (), generic=True)
        return found

    def resolve(self, handler: Handler, version: str, *, auto_upgrade: bool) -> Release | None:
        """The release for a request of `major.minor`; with automatic upgrade the newest of that major version."""
        if handler.generic:
            return Release(f"{version}.0", None)
        wanted = _numbers(version)
        limit = self._limit(handler)
        fitting = [r for r in handler.releases if _fits(_numbers(r.version), wanted, limit, auto_upgrade)]
        return max(fitting, key=lambda release: _numbers(release.version), default=None)

    def _limit(self, handler: Handler) -> tuple[int, ...]:
        return _numbers(self._newest.get(handler.name.lower(), "999.999"))


def _fits(have: tuple[int, ...], wanted: tuple[int, ...], limit: tuple[int, ...], auto_upgrade: bool) -> bool:
    if have[: len(limit)] > limit or have[0] != wanted[0]:
        return False
    return have[1] >= wanted[1] if auto_upgrade else have[1] == wanted[1]


def _matches(row: str, version: str) -> bool:
    parts = _numbers(row)
    return _numbers(version)[: len(parts)] == parts


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _handler(raw: Mapping[str, Any]) -> Handler:
    return Handler(
        publisher=raw["publisher"],
        type=raw["type"],
        command=raw["command"],
        settings=raw.get("settings", ""),
        os=raw.get("os", ""),
        releases=tuple(_release(r) for r in raw["releases"]),
    )


def _release(raw: Mapping[str, Any]) -> Release:
    systems = {
        architecture: {name: tuple(map(str, rows)) for name, rows in table.items()}
        for architecture, table in raw.items()
        if architecture != "version"
    }
    return Release(str(raw["version"]), systems or None)
