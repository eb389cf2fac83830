"""Reads error rules from data: the `errors:` section of a catalogue file, joined with what every extension shares.

The shared half is `data/arm_errors.yaml`: each cause's class, meaning and advice, ARM's refusals, and the words that
guest agent, dpkg, rpm and the like use whoever calls them. Reading is strict; a slip is named with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

import yaml

from onboarding.core.errors import ConfigurationError
from onboarding.core.failure_rules import Cause, Diagnosis, ErrorTable, FailureClass, Rule

_RULE_KEYS = frozenset(
    "status code text operation exitCode cause class meaning advice scopeWide maxAttempts implies".split()
)
_CAUSE_KEYS = frozenset("class meaning advice scopeWide maxAttempts".split())
_SECTION_KEYS = frozenset(("texts", "editions"))
_EDITION_KEYS = frozenset("date source handlerVersion codes".split())


def parse_errors(mapping: object) -> ErrorTable:
    """Join a catalogue entry's `errors:` section with the shared rules. An empty section is a table too."""
    section = _mapping(mapping, "errors", _SECTION_KEYS)
    shared = _shared()
    causes = _causes(shared)
    return ErrorTable(
        (
            *_rules(shared["refusals"], "refusals", causes),
            *_rules(section.get("texts"), "errors.texts", causes),
            *_rules(shared["reports"], "reports", causes),
            *_editions(section.get("editions"), causes),
            *_rules(shared["exitCodes"], "exitCodes", causes),
            *_rules(shared["fallbacks"], "fallbacks", causes),
        ),
        causes,
    )


@cache
def _shared() -> Mapping[str, Any]:
    text = (resources.files("onboarding.core") / "data" / "arm_errors.yaml").read_text(encoding="utf-8")
    return _mapping(yaml.safe_load(text), "arm_errors.yaml", None)


def _causes(shared: Mapping[str, Any]) -> Mapping[Cause, Diagnosis]:
    told = _mapping(shared.get("causes"), "causes", None)
    missing = sorted(set(Cause) - set(told))
    if missing:
        raise ConfigurationError("causes", f"says nothing of {', '.join(missing)}", "say it")
    return {Cause(name): _cause(Cause(name), value, f"causes.{name}") for name, value in told.items()}


def _cause(cause: Cause, value: object, place: str) -> Diagnosis:
    raw = _mapping(value, place, _CAUSE_KEYS)
    kind = FailureClass(_text(raw, "class", place))
    unfinished = Diagnosis(cause, kind, _text(raw, "meaning", place), _text(raw, "advice", place))
    return _bounded(replace(unfinished, scope_wide=raw.get("scopeWide", False)), raw, place)


def _editions(value: object, causes: Mapping[Cause, Diagnosis]) -> Iterator[Rule]:
    """The code tables, the newest first: a code that a later edition does not mention keeps its earlier meaning."""
    editions = [
        (_mapping(e, f"errors.editions[{i}]", _EDITION_KEYS), i) for i, e in enumerate(_list(value, "editions"))
    ]
    for edition, i in sorted(editions, key=lambda pair: str(pair[0].get("date")), reverse=True):
        place = f"errors.editions[{i}]"
        since = _version(edition.get("handlerVersion", ""), place)
        for rule in _rules(edition.get("codes"), f"{place}.codes", causes):
            yield replace(rule, since=since)


def _rules(value: object, place: str, causes: Mapping[Cause, Diagnosis]) -> Iterator[Rule]:
    for i, item in enumerate(_list(value, place)):
        yield _rule(item, f"{place}[{i}]", causes)


def _rule(value: object, place: str, causes: Mapping[Cause, Diagnosis]) -> Rule:
    raw = _mapping(value, place, _RULE_KEYS)
    return Rule(
        diagnosis=_diagnosis(raw, place, causes),
        statuses=_numbers(raw, "status", place),
        codes=frozenset(str(code).lower() for code in _list(raw.get("code"), place)),
        text=_pattern(raw, place),
        operations=frozenset(str(name).lower() for name in _list(raw.get("operation"), place)),
        exit_codes=_numbers(raw, "exitCode", place),
        place=place,
    )


def _diagnosis(raw: Mapping[str, Any], place: str, causes: Mapping[Cause, Diagnosis]) -> Diagnosis:
    name = _text(raw, "cause", place)
    if name not in Cause:
        raise ConfigurationError(f"{place}.cause", f"{name!r} is no cause", f"use one of {', '.join(Cause)}")
    default = causes[Cause(name)]
    kind = raw.get("class", default.kind)
    if kind not in FailureClass:
        raise ConfigurationError(f"{place}.class", f"{kind!r} is no class", f"use one of {', '.join(FailureClass)}")
    own = replace(
        default,
        kind=FailureClass(kind),
        meaning=raw.get("meaning", default.meaning),
        advice=raw.get("advice", default.advice),
        scope_wide=raw.get("scopeWide", default.scope_wide),
        exit_code=raw.get("implies"),
    )
    return _bounded(own, {"maxAttempts": default.max_attempts, **raw}, place)


def _bounded(diagnosis: Diagnosis, raw: Mapping[str, Any], place: str) -> Diagnosis:
    """Only a transient failure is tried again, and never without end."""
    if diagnosis.kind is not FailureClass.TRANSIENT:
        return replace(diagnosis, max_attempts=None)
    attempts = raw.get("maxAttempts")
    if not isinstance(attempts, int) or attempts < 1:
        raise ConfigurationError(
            f"{place}.maxAttempts", "is no number of tries", "a transient failure needs one, from 1"
        )
    return replace(diagnosis, max_attempts=attempts)


def _mapping(value: object, place: str, known: frozenset[str] | None) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(place, f"is a {type(value).__name__}", "write it as keys and values")
    unknown = sorted(str(key) for key in value if known is not None and key not in known)
    if unknown:
        raise ConfigurationError(f"{place}.{unknown[0]}", "is no key here", f"use {', '.join(sorted(known or ()))}")
    return value


def _list(value: object, place: str) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(raw: Mapping[str, Any], key: str, place: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{place}.{key}", "is no text, or is missing", "write it as a text")
    return value


def _numbers(raw: Mapping[str, Any], key: str, place: str) -> frozenset[int]:
    values = _list(raw.get(key), place)
    if not all(isinstance(value, int) for value in values):
        raise ConfigurationError(f"{place}.{key}", "is no number", "write a number or a list of numbers")
    return frozenset(values)


def _pattern(raw: Mapping[str, Any], place: str) -> re.Pattern[str] | None:
    if raw.get("text") is None:
        return None
    try:
        return re.compile(_text(raw, "text", place), re.IGNORECASE)
    except re.error as error:
        raise ConfigurationError(f"{place}.text", f"is no regular expression: {error}", "mend it") from error


def _version(value: object, place: str) -> tuple[int, ...]:
    parts = str(value).split(".") if value else []
    if not all(part.isdigit() for part in parts):
        raise ConfigurationError(f"{place}.handlerVersion", f"{value!r} is no version", "write it as '1.3'")
    return tuple(int(part) for part in parts)
