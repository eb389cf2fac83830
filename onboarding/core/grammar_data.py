"""The one place that reads the package's own data files; everything else in `core` takes values."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml

from onboarding.core.image_grammar import Grammar, parse_grammar


@cache
def image_grammar() -> Grammar:
    """The grammar that ships with the package, compiled once."""
    text = files("onboarding.core").joinpath("data/image_grammar.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return parse_grammar(yaml.load(text, Loader=loader), "data/image_grammar.yaml")
