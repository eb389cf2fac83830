"""The configuration of the host: `host.json` and, as with Core Tools, the `Values` of `local.settings.json`.

Only the sections that this host supports are read; others are accepted unread, as by the real host for extensions that
are not loaded. Environment variables take precedence over the settings file, and settings named
`AzureFunctionsJobHost__section__name` over host.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{1,2}):(\d{1,2})(\.\d+)?")
_OVERRIDE = "AzureFunctionsJobHost__"
_LEVELS = {
    "trace": 5,
    "debug": 10,
    "information": 20,
    "warning": 30,
    "error": 40,
    "critical": 50,
    "none": 60,
}


class BadConfiguration(Exception):
    """A configuration file is wrong: names file, place, and what is expected."""


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """`extensions.queues`; the defaults are the extension's. Times are seconds."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    max_polling_interval: float = 60.0
    visibility_timeout: float = 0.0
    base64: bool = True


@dataclass(frozen=True, slots=True)
class HostOptions:
    """`function_timeout` in seconds, None for no limit; log levels are Python's, by category."""

    function_timeout: float | None = 1800.0
    route_prefix: str = "api"
    queues: QueueOptions = field(default_factory=QueueOptions)
    log_levels: Mapping[str, int] = field(default_factory=dict)


def read_host_options(app: Path, environment: Mapping[str, str]) -> HostOptions:
    """Read `host.json` of an app; an app without one gets the defaults, as with the real host."""
    path = app / "host.json"
    values = _load(path) if path.exists() else {"version": "2.0"}
    root = _Section(str(path), "", _overridden(values, environment))
    if root.values.get("version") != "2.0":
        raise root.wrong("version", '"2.0"')
    extensions = root.section("extensions")
    return HostOptions(
        function_timeout=_function_timeout(root),
        route_prefix=extensions.section("http").text("routePrefix", "api").strip("/"),
        queues=_queue_options(extensions.section("queues")),
        log_levels=_log_levels(root.section("logging").section("logLevel")),
    )


def apply_settings(path: Path, environment: MutableMapping[str, str]) -> None:
    """Copy the settings file's values into the environment, unless they are set already."""
    root = _Section(str(path), "", _load(path))
    if root.values.get("IsEncrypted"):
        raise root.wrong("IsEncrypted", "false: this host cannot decrypt (`func settings decrypt` can)")
    for name, value in root.section("Values").values.items():
        if not isinstance(value, str):
            raise root.section("Values").wrong(name, "a string: settings are environment variables")
        environment.setdefault(name, value)


@dataclass(frozen=True, slots=True)
class _Section:
    """A JSON object and its place in the file."""

    file: str
    path: str
    values: Mapping[str, Any]

    def section(self, name: str) -> _Section:
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return _Section(self.file, f"{self.path}{name}.", value)

    def text(self, name: str, default: str) -> str:
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def count(self, name: str, default: int, least: int, most: int) -> int:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return value

    def span(self, name: str, default: str) -> float:
        seconds = timespan(self.text(name, default))
        if seconds is None:
            raise self.wrong(name, "a time span as hh:mm:ss")
        return seconds

    def wrong(self, name: str, expected: str) -> BadConfiguration:
        found = json.dumps(self.values[name]) if name in self.values else "nothing"
        return BadConfiguration(f"{self.file}: {self.path}{name} is {found}; it must be {expected}")


def timespan(text: str) -> float | None:
    """Seconds of a .NET time span, `[d.]hh:mm:ss[.fff]`; None if it is not one."""
    match = _TIMESPAN.fullmatch(text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    return days * 86400 + hours * 3600 + minutes * 60 + seconds + float(match[5] or 0)


def _function_timeout(root: _Section) -> float | None:
    return None if root.text("functionTimeout", "") == "-1" else root.span("functionTimeout", "00:30:00")


def _queue_options(queues: _Section) -> QueueOptions:
    batch_size = queues.count("batchSize", 16, 1, 32)
    encoding = queues.text("messageEncoding", "base64").lower()
    if encoding not in ("base64", "none"):
        raise queues.wrong("messageEncoding", '"base64" or "none"')
    return QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=queues.count("newBatchThreshold", batch_size // 2, 0, 10_000),
        max_dequeue_count=queues.count("maxDequeueCount", 5, 1, 10_000),
        max_polling_interval=max(0.1, queues.span("maxPollingInterval", "00:01:00")),
        visibility_timeout=queues.span("visibilityTimeout", "00:00:00"),
        base64=encoding == "base64",
    )


def _log_levels(levels: _Section) -> dict[str, int]:
    read = {}
    for category in levels.values:
        name = levels.text(category, "").lower()
        if name not in _LEVELS:
            raise levels.wrong(category, f"one of {', '.join(level.capitalize() for level in _LEVELS)}")
        read[category] = _LEVELS[name]
    return read


def _overridden(values: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """host.json with the settings that override it; a section that is not an object is refused by its reader."""
    for name, text in environment.items():
        *sections, last = name.removeprefix(_OVERRIDE).split("__")
        if not name.startswith(_OVERRIDE) or not last:
            continue
        place: Any = values
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[last] = int(text) if text.isdecimal() else text
    return values


def _load(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise BadConfiguration(f"{path} does not exist") from None
    except ValueError as error:
        raise BadConfiguration(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise BadConfiguration(f"{path} must hold a JSON object")
    return values
