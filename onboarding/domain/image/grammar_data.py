"""Reads the image grammar and the releases of Windows that ship with the package."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from onboarding.domain.image.image_grammar import Grammar, parse_grammar
from onboarding.domain.image.windows_releases import WindowsReleases, parse_releases
from onboarding.domain.package_data import read_data

_PATH = "data/image_grammar.yaml"
_WINDOWS = "data/windows_releases.yaml"


@cache
def image_grammar() -> Grammar:
    """The grammar that ships with the package, compiled once."""
    return parse_grammar(grammar_source(), _PATH)


@cache
def windows_releases() -> WindowsReleases:
    """The releases of Windows that the package knows, compiled once."""
    return parse_releases(read_data(_WINDOWS), _WINDOWS)


def grammar_source() -> Mapping[str, Any]:
    """The grammar as it is written, for those who explain it."""
    raw: Mapping[str, Any] = read_data(_PATH)
    return raw
