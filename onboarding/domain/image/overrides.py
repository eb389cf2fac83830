"""The override file: what people say about their own images, by globs over image ids, gallery definitions and names.

A gallery identifier is free text and counts only if a rule here says so. The first rule that matches decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
from onboarding.domain.image.os_release import Distribution

_KEYS = {"match", "distribution", "version", "architecture", "believeIdentifier"}
_ARCHITECTURES = ("x86_64", "arm64")


class Override(Struct, frozen=True):
    """One rule of the override file."""

    glob: str  # as the file has it
    distribution: Distribution  # `UNKNOWN` with `believe_identifier`
    version: str | None  # None if the file gives none
    architecture: str | None  # None if the file gives none
    believe_identifier: bool  # read the gallery definition's identifier like a marketplace image's name
    pattern: re.Pattern[str]  # the glob, compiled


class Overrides(Struct, frozen=True):
    """The rules of the override file in their order; `place` is the file, for reasons."""

    rules: tuple[Override, ...] = ()
    place: str = "override file"

    def find(self, *names: str) -> Override | None:
        """The first rule that matches any of these: an image id, a definition id, `publisher:offer:sku`."""
        folded = [name.strip("/").lower() for name in names if name]
        return next((rule for rule in self.rules if any(rule.pattern.match(name) for name in folded)), None)


NO_OVERRIDES = Overrides()


def parse_overrides(raw: object, place: str) -> Overrides:
    """Read `images: [{match, distribution, version, architecture} | {match, believeIdentifier}]`."""
    images = raw.get("images") if isinstance(raw, Mapping) else None
    if not isinstance(images, list):
        problem = "missing list 'images'" if images is None else f"{as_written(images)} is not a list of images"
        where = place if images is None else f"{place}: images"
        raise ConfigurationError(where, problem, "write `images:` and `- {match: …, distribution: …}` lines")
    return Overrides(tuple(_override(item, f"{place}: images[{n}]") for n, item in enumerate(images)), place)


def _override(raw: object, place: str) -> Override:
    if not isinstance(raw, Mapping):
        fix = f"write a mapping with the keys {', '.join(sorted(_KEYS))}"
        raise ConfigurationError(place, f"{as_written(raw)} is not an override", fix)
    if not isinstance(raw.get("match"), str) or not raw["match"].strip():
        problem = "missing key 'match' in an override"
        if "match" in raw:
            problem = f"{as_written(raw['match'])} is not a pattern"
        raise ConfigurationError(f"{place}.match", problem, "write a glob over an image id or publisher:offer:sku")
    for key in sorted(set(map(str, raw)) - _KEYS):
        raise unknown_key(f"{place}.{key}", key, "an override", sorted(_KEYS))
    believe = raw.get("believeIdentifier") is True
    glob = raw["match"].strip()
    return Override(
        glob=glob,
        distribution=Distribution.UNKNOWN if believe else _distribution(raw, place),
        version=_version(raw, place),
        architecture=_architecture(raw, place),
        believe_identifier=believe,
        pattern=re.compile(translate(glob.strip("/").lower())),
    )


def _distribution(raw: Mapping[str, Any], place: str) -> Distribution:
    name = raw.get("distribution")
    if name not in Distribution:
        problem = f"unknown distribution {as_written(name)}"
        if name is None:
            problem = "missing key 'distribution' in an override"
        raise ConfigurationError(
            f"{place}.distribution", problem, known_names("distributions", Distribution, name or "")
        )
    return Distribution(str(name))


def _version(raw: Mapping[str, Any], place: str) -> str | None:
    version = raw.get("version")
    if version is None or isinstance(version, str):
        return version
    if isinstance(version, int) and not isinstance(version, bool):
        return str(version)
    # An unquoted 8.10 is the number 8.1 to YAML.
    raise ConfigurationError(f"{place}.version", f"{as_written(version)} is not a text", "put it in quotes")


def _architecture(raw: Mapping[str, Any], place: str) -> str | None:
    name = raw.get("architecture")
    if name is not None and name not in _ARCHITECTURES:
        fix = known_names("architectures", _ARCHITECTURES, name)
        raise ConfigurationError(f"{place}.architecture", f"unknown architecture {as_written(name)}", fix)
    return name
