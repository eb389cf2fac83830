"""Reads the data that ships with the package: the grammar of image names, the releases of Windows, the error rules that
all extensions share, the names of handlers, and the kinds of managed machine.

Each is read and checked once, when it is first needed, so a process loads only what it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from onboarding.domain.failures.error_table import SharedErrors, parse_shared
from onboarding.domain.failures.handler_name import HandlerNames, parse_handlers
from onboarding.domain.image.image_grammar import Grammar, parse_grammar
from onboarding.domain.image.windows_releases import WindowsReleases, parse_releases
from onboarding.domain.machine.managed_machines import ManagedKinds, parse_kinds
from onboarding.domain.reference_data import ReferenceData


@cache
def reference_data() -> ReferenceData:
    """All of the data; nothing is read yet."""
    return ReferenceData(image_grammar, windows_releases, shared_errors, handler_names, managed_kinds)


@cache
def image_grammar() -> Grammar:
    return parse_grammar(grammar_source(), "data/image_grammar.yaml")


@cache
def windows_releases() -> WindowsReleases:
    return parse_releases(_read("windows_releases.yaml"), "data/windows_releases.yaml")


@cache
def shared_errors() -> SharedErrors:
    return parse_shared(_read("arm_errors.yaml"), handler_names)


@cache
def handler_names() -> HandlerNames:
    return parse_handlers(_read("handlers.yaml"))


@cache
def managed_kinds() -> ManagedKinds:
    return parse_kinds(_read("managed_machines.yaml"), "data/managed_machines.yaml")


def grammar_source() -> Mapping[str, Any]:
    """The grammar as it is in the file, for pages that show it."""
    raw: Mapping[str, Any] = _read("image_grammar.yaml")
    return raw


def _read(name: str) -> Any:
    text = (files("onboarding.loading") / "data" / name).read_text(encoding="utf-8")
    # The loader in Python takes ten times as long, and every new process would wait for it. The bounds of
    # `safe_reader` are for other people's files.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
