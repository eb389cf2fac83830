"""The one place that reads the package's image grammar and its releases of Windows; all else in `core` takes values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from onboarding.core.image_grammar import Grammar, parse_grammar
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
    return parse_releases(_read(_WINDOWS), _WINDOWS)


def grammar_source() -> Mapping[str, Any]:
    """The grammar as it is written, for those who explain it."""
    return _read(_PATH)


def _read(path: str) -> Mapping[str, Any]:
    text = files("onboarding.core").joinpath(path).read_text(encoding="utf-8")
    raw: Mapping[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return raw
