"""Reads the text that a person gives to `onboard diagnose`, and yields the evidence of each failure in it.

The text is a JSON value, a JSON array, JSON Lines, YAML as `az -o yaml` writes it, or plain text; a prompt, colours or
a box around it are removed. An object may be an ARM response (`{"error": …}`), the result of an operation, an error
with HTTP status and headers, an instance view, a status file, or only `{"message": …}`. Successes are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import replace
from itertools import islice
from typing import Any

from onboarding.cli.io import BadInput
from onboarding.domain.errors import as_written
from onboarding.domain.failures.console_text import unwrapped, without_decoration
from onboarding.domain.failures.evidence import Detail, Evidence
from onboarding.domain.failures.instance_views import folded, is_cut, is_status, read_views
from onboarding.loading.package_data import handler_names
from onboarding.loading.safe_reader import Unreadable, parse_yaml

_STATUS_KEYS = ("httpstatus", "statuscode", "status")
_SUCCESS_STATES = frozenset(
    ("succeeded", "success", "accepted", "started", "running", "inprogress", "updating", "creating", "ok")
)
_STATE_KEYS = ("provisioningstate", "status", "state", "displaystatus")
_LOW_LEVELS = frozenset(("trace", "debug", "info", "information", "informational"))
_JSON_BEGINS = ("{", "[{", "[\n", "[ ", "[\r", '["', "[]")
_BEGIN = re.compile(r"\[\s{0,80}\{|\{")
_OF_A_VIEW = re.compile(r"statuses|formatted_?message|aggregate_?status|provisioning_?state", re.IGNORECASE)
_YAML = re.compile(r"(?:---\s*\n)?(?:(?:- )?[A-Za-z]\w{0,60}:(?:\s|$)|[\[{])")
_SUCCESS = re.compile(
    r"\b(?:Install|Enable|Update|Disable|Uninstall),success,0\b"
    r"|^\W{0,3}(?:Install|Enable|Update|Disable|Uninstall|Provisioning) succeeded\b"
    r"|\bSucceeded\b"
    # PowerShell's table or list.
    r"|\bIsSuccessStatusCode\b[^\n:]{0,200}(?::\s{0,80}|\n[-\s]{0,400}(?:[\w-]{1,80}\s{1,80})?)True\b",
    re.IGNORECASE,
)
_FAILURE_WORDS = re.compile(
    r"fail|error|exit code|non-zero|cannot|can't|unable|unsupported|denied|disallowed|locked|refused|timed out"
    r"|not found|unavailable|not ready",
    re.IGNORECASE,
)
# A terminal or a damaged byte leaves few control characters in a text; a picture or an archive is full of them.
_CONTROLS = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
_MAX_CONTROL_SHARE = 50
_HEAD = 4096
# A PowerShell error record names its command like a value that was cut off; its message still describes the failure.
_SENTENCE = re.compile(
    rf"^(?=[^\n]{{0,2000}}?(?:{_FAILURE_WORDS.pattern}))\S{{1,200}}(?: \S{{1,200}}){{3}}", re.IGNORECASE | re.MULTILINE
)
_DEPTH = 8
_MOST_WORDS = 50
_TRIES = 5


def read_evidence(text: str, name: str) -> Iterator[Evidence]:
    """Every failure in the text, in its order; none where the text reports successes only."""
    if not text.strip():
        raise BadInput(name, "the input is empty", "give a message, an ARM body or what az printed")
    head = text[:_HEAD]
    if len(_CONTROLS.findall(head)) * _MAX_CONTROL_SHARE > len(head):
        raise BadInput(name, "the input is not a text", "give a message, an ARM body or what az printed")
    values, broken = _json_values(text)
    if values is None:
        yield from _from_text(text, name)
    elif len(values) > 1 and all(is_status(folded(value)) for value in values):
        yield from _from_value(values, name)  # the statuses of one instance view
    else:
        words = (Detail(message=" ".join(without_decoration(text).split())),) if broken and len(values) == 1 else ()
        for number, value in enumerate(values, 1):
            for found in _from_value(value, f"{name}, item {number}"):
                yield replace(found, details=(*found.details, *words)) if words else found


def _json_values(text: str) -> tuple[list[Any] | None, bool]:
    """The values of JSON or JSON Lines, and whether a console broke its lines; None for any other text.

    Colours, boxes and line breaks of a console are removed."""
    clean = text.lstrip("\ufeff \t\r\n")
    if not clean.startswith(_JSON_BEGINS):
        clean = without_decoration(text)
        if not clean.startswith(_JSON_BEGINS):
            return None, False
    for read in (_json_of, _json_lines):
        if (values := read(clean)) is not None:
            return values, False
    lines = without_decoration(text).split("\n")
    for whole in ("".join(lines), " ".join(lines)):
        if (values := _json_of(whole)) is not None:
            return values, True
    return None, False


def _json_of(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else [value]


def _json_lines(text: str) -> list[Any] | None:
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return None


def _from_text(text: str, name: str) -> Iterator[Evidence]:
    clean = without_decoration(text)
    if (found := _view_within(clean)) is not None:
        yield from _from_value(found, name)
    elif _FAILURE_WORDS.search(clean) or not _SUCCESS.search(clean):
        yield _from_message(text.strip(), clean)


def _from_message(text: str, clean: str) -> Evidence:
    """The evidence of a message, with joined lines first, in case a console broke them, then as it was given."""
    if not clean or clean.startswith("<"):
        return Evidence.from_text(clean or text)
    whole = [Evidence.from_text(words) for words in (*unwrapped(text), clean)]
    details = [detail for other in whole[1:] for detail in (Detail(message=other.message), *other.details)]
    code = next((other.code for other in whole if other.code), "")
    status = next((other.http_status for other in whole if other.http_status), None)
    return replace(whole[0], code=code, http_status=status, details=(*whole[0].details, *details))


def _view_within(text: str) -> object:
    """The instance view or status file within a text: behind a prompt or other words, in YAML, or as Python prints it
    (which is nearly YAML); None if the text has no such value."""
    if not _OF_A_VIEW.search(text):
        return None
    decoder = json.JSONDecoder(strict=False)
    at = 0
    for _ in range(_TRIES):
        begin = _BEGIN.search(text, at)
        if not begin:
            break
        try:
            value, at = decoder.raw_decode(text, begin.start())
        except (ValueError, RecursionError):
            at = begin.end()
        else:
            if _is_conclusive(value, text):
                return value
    if not _YAML.match(text):
        return None
    try:
        value = parse_yaml(text)
    except Unreadable:
        return None
    return value if _is_conclusive(value, text) else None


def _is_conclusive(value: object, text: str) -> bool:
    """Whether a value is a view with a failure, or a view without one in a text that mentions no failure."""
    failures = read_views(value, handler_names())
    return failures is not None and (bool(failures) or not _FAILURE_WORDS.search(text))


def _from_value(value: object, place: str) -> Iterator[Evidence]:
    failures = read_views([value] if is_status(folded(value)) else value, handler_names())
    if failures is not None:
        yield from failures
        if not failures and is_cut(value):
            raise BadInput(place, "PowerShell cut the failure off", "print it with ConvertTo-Json -Depth 10")
    elif isinstance(value, str):
        yield from _from_text(value, place)
    elif not isinstance(value, Mapping):
        problem = f"{as_written(value)} is not an error"
        raise BadInput(place, problem, 'give objects such as {"message": "…"} or texts')
    elif (items := _list_items(folded(value))) is not None:
        for number, inner in enumerate(items, 1):
            yield from _from_value(inner, f"{place}.value[{number}]")
    elif value and not _shows_no_failure(folded(value)):
        yield _evidence(value, place)


def _list_items(raw: Mapping[str, Any]) -> list[Any] | None:
    """The items of an ARM list (`{"value": […], "nextLink": …}`); None for any other object."""
    items = raw.get("value")
    if not isinstance(items, list) or not raw.keys() <= {"value", "nextlink", "count"}:
        return None
    return items if all(isinstance(item, Mapping) for item in items) else None


def _shows_no_failure(raw: Mapping[str, Any]) -> bool:
    """Whether an object reports a success, work in progress, or no problem."""
    if str(raw.get("@level", raw.get("level", ""))).lower() in _LOW_LEVELS:
        return True
    properties = folded(raw.get("properties"))
    if any(held.get(key) for held in (raw, properties) for key in ("error", "code", "statusmessage", "errors")):
        return False
    states = [held.get(key) for held in (properties, raw) for key in _STATE_KEYS]
    states = [folded(state).get("value") if isinstance(state, Mapping) else state for state in states]
    given = [state.lower().removeprefix("provisioning ") for state in states if isinstance(state, str)]
    if given:
        return all(state in _SUCCESS_STATES for state in given)
    words = raw.get("message")
    return isinstance(words, str) and bool(_SUCCESS.search(words)) and not _FAILURE_WORDS.search(words)


def _evidence(value: Mapping[str, Any], place: str) -> Evidence:
    raw = folded(value)
    status, headers = _http_status(raw), _headers(raw)
    message = raw.get("message")
    if not raw.get("code") and isinstance(message, str) and "error" not in raw:
        return Evidence.from_text(message, http_status=status, headers=headers)
    evidence = Evidence.from_body(status, value, headers)
    if evidence.text or evidence.codes or status:
        return evidence
    words = "\n".join(islice(_texts_in(value, _DEPTH), _MOST_WORDS))
    if is_cut(value) and not _SENTENCE.search(words):
        raise BadInput(place, "PowerShell cut the failure off", "print it with ConvertTo-Json -Depth 10")
    return Evidence.from_text(words, headers=headers)


def _texts_in(value: object, depth: int) -> Iterator[str]:
    """Every text in a value that may be a message or a code, for tools whose keys we do not know."""
    if depth == 0:
        return
    if isinstance(value, str):
        if len(value) > 3:
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts_in(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_in(inner, depth - 1)


def _http_status(raw: Mapping[str, Any]) -> int | None:
    for key in _STATUS_KEYS:
        status = raw.get(key)
        if isinstance(status, int) or (isinstance(status, str) and len(status) <= 9 and status.isdecimal()):
            return int(status)
    return None


def _headers(raw: Mapping[str, Any]) -> dict[str, str]:
    headers = raw.get("headers")
    return {str(k): str(v) for k, v in headers.items()} if isinstance(headers, Mapping) else {}
