"""The override file: what people say about their own images, by globs over image ids, gallery definitions and names.

A gallery identifier is free text and counts only if a rule here says so. The first rule that matches decides.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from onboarding.domain.errors import known_names
from onboarding.domain.image.os_release import Distribution
from onboarding.domain.typed_file import FileMapping, Refused, read_as


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


class OverrideEntry(FileMapping, frozen=True, kw_only=True):
    """A rule as it is written: `{match, distribution, version, architecture}` or `{match, believeIdentifier}`."""

    what: ClassVar[str] = "an override"

    match: Annotated[
        str,
        Meta(
            description="A glob over an image id, a gallery definition or publisher:offer:sku.",
            extra={"is": "a pattern", "fix": "write a glob over an image id or publisher:offer:sku"},
        ),
    ]
    distribution: Annotated[
        Distribution | None,
        Meta(description="What it runs.", extra={"one": "distribution", "many": "distributions"}),
    ] = None
    # An unquoted 8.10 is the number 8.1 to YAML.
    version: Annotated[
        str | int | None,
        Meta(description="Its version; left out if it varies.", extra={"is": "a text", "fix": "put it in quotes"}),
    ] = None
    architecture: Annotated[
        Literal["x86_64", "arm64"] | None,
        Meta(description="Left out if it varies.", extra={"one": "architecture", "many": "architectures"}),
    ] = None
    believe_identifier: Annotated[
        bool | None, Meta(description="Read the gallery definition's identifier like a marketplace image's name.")
    ] = None

    def __post_init__(self) -> None:
        if not self.match.strip():
            raise Refused("match", "key 'match' is empty", "write a glob over an image id or publisher:offer:sku")
        if self.distribution is None and not self.believe_identifier:
            fix = known_names("distributions", Distribution)
            raise Refused("distribution", "missing key 'distribution' in an override", fix)


class OverrideFile(FileMapping, frozen=True, forbid_unknown_fields=False):
    """The override file. Its other keys are for people."""

    what: ClassVar[str] = "an override file"

    images: Annotated[tuple[OverrideEntry, ...], Meta(description="The rules; the first that matches decides.")]


def parse_overrides(raw: object, place: str) -> Overrides:
    """Read an override file; `place` is its name, for errors."""
    return Overrides(tuple(map(_override, read_as(raw, OverrideFile, place).images)), place)


def _override(entry: OverrideEntry) -> Override:
    believe, glob = bool(entry.believe_identifier), entry.match.strip()
    return Override(
        glob=glob,
        distribution=Distribution.UNKNOWN if believe or entry.distribution is None else entry.distribution,
        version=None if entry.version is None else str(entry.version),
        architecture=entry.architecture,
        believe_identifier=believe,
        pattern=re.compile(translate(glob.strip("/").lower())),
    )
