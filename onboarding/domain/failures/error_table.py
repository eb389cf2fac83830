"""Reads error rules from data: the `errors:` section of a catalogue file, joined with the rules that all extensions
share.

The shared part is `arm_errors.yaml`: each cause's class, meaning and advice, ARM's refusals, and the words of the guest
agent, dpkg, rpm and the like, whoever calls them. Reading is strict; a mistake is named with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import replace
from typing import Any

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
from onboarding.domain.failures.failure_rules import Cause, Diagnosis, Edition, ErrorTable, FailureClass, Rule
from onboarding.domain.failures.handler_name import HandlerNames
from onboarding.domain.lazy_pattern import Pattern

_DIAGNOSIS_KEYS = frozenset(("class", "meaning", "advice", "scopeWide", "maxAttempts"))
_CONDITION_KEYS = frozenset(("status", "code", "text", "operation", "exitCode"))
_RULE_KEYS = _DIAGNOSIS_KEYS | _CONDITION_KEYS | {"cause", "implies", "refusal"}
_SECTION_KEYS = frozenset(("advice", "texts", "editions"))
_EDITION_KEYS = frozenset(("date", "source", "handlerVersion", "codes"))


class SharedErrors(Struct, frozen=True):
    """The rules that all extensions share. An extension's own texts are tried between `refusals` and `reports`, its
    code tables between `reports` and `conventions`."""

    causes: Mapping[Cause, Diagnosis]  # the meaning of each cause unless a rule has a more exact one
    refusals: tuple[Rule, ...]  # by ARM
    reports: tuple[Rule, ...]  # words of the guest agent and of package managers
    conventions: tuple[Rule, ...]  # exit codes of Microsoft's handlers
    exit_codes: tuple[Rule, ...]  # exit codes of any program
    fallbacks: tuple[Rule, ...]
    handlers: Callable[[], HandlerNames]


def parse_shared(raw: object, handlers: Callable[[], HandlerNames]) -> SharedErrors:
    """Read `arm_errors.yaml`. Raises ConfigurationError, naming the place in it."""
    shared = _closed_mapping(raw, "arm_errors.yaml")
    causes = _causes(shared.get("causes"))
    return SharedErrors(
        causes,
        refusals=tuple(_rules(shared.get("refusals"), "refusals", causes)),
        reports=tuple(_rules(shared.get("reports"), "reports", causes)),
        conventions=tuple(_rules(shared.get("conventions"), "conventions", causes)),
        exit_codes=tuple(_rules(shared.get("exitCodes"), "exitCodes", causes)),
        fallbacks=tuple(_rules(shared.get("fallbacks"), "fallbacks", causes)),
        handlers=handlers,
    )


def parse_errors(mapping: object, shared: SharedErrors, *, conventions: bool = True, tried: bool = False) -> ErrorTable:
    """Join a catalogue entry's `errors:` section with the shared rules. An empty section is a table too; without the
    `conventions` of Microsoft's handlers the table fits the handler of another vendor. The section's `advice` takes the
    place of a cause's, wherever no rule has a more exact one. The section's regular expressions are compiled to check
    them, unless they were `tried` before."""
    section = _closed_mapping(mapping, "errors", _SECTION_KEYS)
    causes = _with_advice(shared.causes, section.get("advice"))
    editions = _editions(section.get("editions"), causes)

    def advised(rules: tuple[Rule, ...]) -> Iterator[Rule]:
        """Shared rules, with the extension's advice in the place of the cause's own."""
        for rule in rules:
            cause = rule.diagnosis.cause
            usual, own = shared.causes[cause].advice, causes[cause].advice
            changed = own != usual and rule.diagnosis.advice == usual
            yield replace(rule, diagnosis=replace(rule.diagnosis, advice=own)) if changed else rule

    table = ErrorTable(
        (
            *advised(shared.refusals),
            *_rules(section.get("texts"), "errors.texts", causes),
            *advised(shared.reports),
            *_newest_first(editions),
            *(advised(shared.conventions) if conventions else ()),
            *advised(shared.exit_codes),
            *advised(shared.fallbacks),
        ),
        causes,
        shared.handlers,
        editions,
    )
    if not tried:
        _check_patterns(table)
    return table


def _with_advice(causes: Mapping[Cause, Diagnosis], value: object) -> Mapping[Cause, Diagnosis]:
    own = _closed_mapping(value, "errors.advice")
    advice = {_one_of(Cause, name, "errors.advice"): _required_text(own, name, "errors.advice") for name in own}
    return {**causes, **{cause: replace(causes[cause], advice=text) for cause, text in advice.items()}}


def _check_patterns(table: ErrorTable) -> None:
    for rule in table.rules:
        if rule.text is not None and rule.place.startswith("errors."):
            try:
                rule.text.compiled()
            except re.error as error:
                place = f"{rule.place}.text"
                problem = f"{as_written(rule.text.text)} is not a regular expression: {error}"
                raise ConfigurationError(place, problem, "write a regular expression of Python") from error


def _causes(value: object) -> Mapping[Cause, Diagnosis]:
    diagnoses = _closed_mapping(value, "causes")
    missing = sorted(set(Cause) - set(diagnoses))
    if missing:
        problem = f"missing causes: {', '.join(missing)}"
        raise ConfigurationError("causes", problem, "add each with class, meaning and advice")
    return {_one_of(Cause, name, "causes"): _cause(name, value) for name, value in diagnoses.items()}


def _cause(name: str, value: object) -> Diagnosis:
    place = f"causes.{name}"
    raw = _closed_mapping(value, place, _DIAGNOSIS_KEYS)
    kind = _one_of(FailureClass, raw.get("class"), f"{place}.class")
    plain = Diagnosis(Cause(name), kind, _required_text(raw, "meaning", place), _required_text(raw, "advice", place))
    return _bounded(replace(plain, scope_wide=bool(raw.get("scopeWide"))), raw.get("maxAttempts"), place)


def _editions(value: object, causes: Mapping[Cause, Diagnosis]) -> tuple[Edition, ...]:
    """The code tables, the oldest first."""
    editions = [_edition(item, f"errors.editions[{i}]", causes) for i, item in enumerate(_as_list(value))]
    return tuple(sorted(editions, key=lambda edition: edition.date))


def _edition(value: object, place: str, causes: Mapping[Cause, Diagnosis]) -> Edition:
    raw = _closed_mapping(value, place, _EDITION_KEYS)
    since = _version(raw.get("handlerVersion"), place)
    rules = tuple(replace(rule, since=since) for rule in _rules(raw.get("codes"), f"{place}.codes", causes))
    return Edition(str(raw.get("date", "")), str(raw.get("source", "")), str(raw.get("handlerVersion", "")), rules)


def _newest_first(editions: tuple[Edition, ...]) -> list[Rule]:
    """The rules of all editions. A code that a later edition does not mention keeps its earlier meaning. A code that no
    edition up to the handler's version knows is read by the later editions."""
    rules = [rule for edition in reversed(editions) for rule in edition.rules]
    return [*rules, *(replace(rule, since=()) for rule in rules if rule.since)]


def _rules(value: object, place: str, causes: Mapping[Cause, Diagnosis]) -> Iterator[Rule]:
    for i, item in enumerate(_as_list(value)):
        yield _rule(_closed_mapping(item, f"{place}[{i}]", _RULE_KEYS), f"{place}[{i}]", causes)


def _rule(raw: Mapping[str, Any], place: str, causes: Mapping[Cause, Diagnosis]) -> Rule:
    if not _CONDITION_KEYS & set(raw):
        raise ConfigurationError(
            place, "this rule has no condition", f"add one of {', '.join(sorted(_CONDITION_KEYS))}"
        )
    return Rule(
        diagnosis=_diagnosis(raw, place, causes),
        statuses=_numbers(raw, "status", place),
        codes=tuple(str(code).lower() for code in _as_list(raw.get("code"))),
        text=_pattern(raw, place),
        operations=frozenset(str(name).lower() for name in _as_list(raw.get("operation"))),
        exit_codes=_numbers(raw, "exitCode", place),
        refusal=bool(raw.get("refusal")),
        place=place,
    )


def _diagnosis(raw: Mapping[str, Any], place: str, causes: Mapping[Cause, Diagnosis]) -> Diagnosis:
    default = causes[_one_of(Cause, raw.get("cause"), f"{place}.cause")]
    own = replace(
        default,
        kind=_one_of(FailureClass, raw.get("class", default.kind), f"{place}.class"),
        meaning=_required_text(raw, "meaning", place, default.meaning),
        advice=_required_text(raw, "advice", place, default.advice),
        scope_wide=bool(raw.get("scopeWide", default.scope_wide)),
        exit_code=raw.get("implies"),
    )
    return _bounded(own, raw.get("maxAttempts", default.max_attempts), place)


def _bounded(diagnosis: Diagnosis, attempts: object, place: str) -> Diagnosis:
    """The diagnosis with its attempts: only a transient failure is tried again, and only so often."""
    if diagnosis.kind is not FailureClass.TRANSIENT:
        return replace(diagnosis, max_attempts=None)
    if not isinstance(attempts, int) or attempts < 1:
        problem = (
            "missing key 'maxAttempts'" if attempts is None else f"{as_written(attempts)} is not a number of attempts"
        )
        fix = "write a whole number above 0, which a transient failure needs"
        raise ConfigurationError(f"{place}.maxAttempts", problem, fix)
    return replace(diagnosis, max_attempts=attempts)


def _closed_mapping(value: object, place: str, known: frozenset[str] | None = None) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(place, f"{as_written(value)} is not a mapping", "write `key: value` lines")
    for key in value:
        if known is not None and key not in known:
            raise unknown_key(f"{place}.{key}", key, f"'{place}'", sorted(known))
    return value


def _one_of[E: (Cause, FailureClass)](kind: type[E], value: Any, place: str) -> E:
    try:
        return kind(value)
    except ValueError:
        what, names = ("cause", "causes") if kind is Cause else ("class", "classes")
        problem = f"missing {what}" if value is None else f"unknown {what} {as_written(value)}"
        raise ConfigurationError(place, problem, known_names(names, kind, value or "")) from None


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _required_text(raw: Mapping[str, Any], key: str, place: str, default: str = "") -> str:
    value = raw.get(key, default)
    if not isinstance(value, str) or not value:
        problem = f"missing key '{key}'" if value in (None, "") else f"{as_written(value)} is not a text"
        raise ConfigurationError(f"{place}.{key}", problem, f"add `{key}:` and a text")
    return value


def _numbers(raw: Mapping[str, Any], key: str, place: str) -> frozenset[int]:
    numbers: set[int] = set()
    for value in _as_list(raw.get(key)):
        if isinstance(value, int):
            numbers.add(value)
        elif value in ("4xx", "5xx"):
            numbers.update(range(int(value[0]) * 100, int(value[0]) * 100 + 100))
        else:
            problem = f"{as_written(value)} is not a number"
            raise ConfigurationError(f"{place}.{key}", problem, "write numbers, 4xx or 5xx")
    return frozenset(numbers)


def _pattern(raw: Mapping[str, Any], place: str) -> Pattern | None:
    alternatives = _as_list(raw.get("text"))
    if not all(isinstance(text, str) and text for text in alternatives):
        wrong = next(text for text in alternatives if not isinstance(text, str) or not text)
        problem = f"{as_written(wrong)} is not a regular expression"
        raise ConfigurationError(f"{place}.text", problem, "write a regular expression or a list of them")
    return Pattern("|".join(alternatives), re.IGNORECASE) if alternatives else None


def _version(value: object, place: str) -> tuple[int, ...]:
    parts = str(value).split(".") if value else []
    if not all(part.isdecimal() for part in parts):
        problem = f"{as_written(value)} is not a version"
        raise ConfigurationError(f"{place}.handlerVersion", problem, "write numbers and dots, such as '1.3'")
    return tuple(int(part) for part in parts)
