"""The one place that reads the package's image grammar; everything else in `core` takes values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from onboarding.core.image_grammar import Grammar, parse_grammar

_PATH = "data/image_grammar.yaml"


@cache
def image_grammar() -> Grammar:
    """The grammar that ships with the package, compiled once."""
    return parse_grammar(grammar_source(), _PATH)


def grammar_source() -> Mapping[str, Any]:
    """The grammar as it is written, for those who explain it."""
    text = files("onboarding.core").joinpath(_PATH).read_text(encoding="utf-8")
    raw: Mapping[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return raw
