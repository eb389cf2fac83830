"""Reads what a person pasted into `onboard diagnose` as evidence of failures, one after the other.

One JSON value, an array, JSON Lines or plain text. An object may be an ARM answer (`{"error": …}`), an operation's
result, an error with its HTTP status and headers, an instance view, or just `{"message": …}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from onboarding.cli.io import BadInput
from onboarding.core.evidence import Evidence
from onboarding.core.facts import Status

_STATUS_KEYS = ("http_status", "httpStatus", "status_code", "statusCode", "status")


def read_evidence(text: str, name: str) -> Iterator[Evidence]:
    """Every failure that the text tells of, in its order."""
    if not text.strip():
        raise BadInput(f"{name}: is empty; give a message, an ARM body or what az printed")
    values = _json_values(text)
    if values is None:
        yield Evidence.from_text(text.strip())
        return
    for number, value in enumerate(values, 1):
        yield _evidence(value, f"{name}, item {number}")


def _json_values(text: str) -> list[Any] | None:
    """The values of a JSON text or of JSON Lines; None for a text that is neither."""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[{", "[\n", "[ ", "[\r", '["')):
        return None
    try:
        value = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return _json_lines(text)
    return value if isinstance(value, list) else [value]


def _json_lines(text: str) -> list[Any] | None:
    try:
        return [json.loads(line) for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return None


def _evidence(value: object, place: str) -> Evidence:
    if isinstance(value, str):
        return Evidence.from_text(value)
    if not isinstance(value, Mapping):
        raise BadInput(f'{place}: is a {type(value).__name__}; give objects such as {{"message": "…"}} or texts')
    if statuses := _statuses(value):
        return Evidence.from_status(statuses)
    if not value.get("code") and isinstance(value.get("message"), str) and "error" not in value:
        return Evidence.from_text(value["message"], http_status=_http_status(value), headers=_headers(value))
    return Evidence.from_body(_http_status(value), value, _headers(value))


def _http_status(value: Mapping[str, Any]) -> int | None:
    for key in _STATUS_KEYS:
        status = value.get(key)
        if isinstance(status, int) or (isinstance(status, str) and len(status) <= 9 and status.isdecimal()):
            return int(status)
    return None


def _headers(value: Mapping[str, Any]) -> dict[str, str]:
    headers = value.get("headers")
    return {str(k): str(v) for k, v in headers.items()} if isinstance(headers, Mapping) else {}


def _statuses(value: Mapping[str, Any]) -> tuple[Status, ...]:
    """The statuses of an instance view, alone or inside an extension resource."""
    properties = value.get("properties")
    for holder in (
        value,
        value.get("instanceView"),
        properties.get("instanceView") if isinstance(properties, Mapping) else None,
    ):
        statuses = holder.get("statuses") if isinstance(holder, Mapping) else None
        if isinstance(statuses, list):
            return tuple(_status(s) for s in statuses if isinstance(s, Mapping))
    return ()


def _status(raw: Mapping[str, Any]) -> Status:
    code, level, display, message = (str(raw.get(key) or "") for key in ("code", "level", "displayStatus", "message"))
    return Status(code, level, display, message)
