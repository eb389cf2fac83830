"""The one place that reads the package's image grammar and its releases of Windows; all else in `core` takes values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from onboarding.core.image_grammar import Grammar, parse_grammar
from onboarding.core.package_data import read_data
from onboarding.core.windows import WindowsReleases, parse_releases

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
