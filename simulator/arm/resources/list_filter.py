"""The `$filter` of ARM's lists of resources and groups: comparisons with `eq`, joined by `and`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simulator.arm.http.errors import ArmError

_COMPARISON = re.compile(r"\s*(\w+)\s+eq\s+'((?:[^']|'')*)'\s*", re.IGNORECASE)
_FIELDS = {"name": "name", "location": "location", "resourcetype": "type"}
_OTHERS = ("resourcegroup", "tagname", "tagvalue")


def read_filter(text: str) -> dict[str, str]:
    """The wanted values by field, in lower case. Raises ARM's 400 for any other form."""
    wanted: dict[str, str] = {}
    for part in re.split(r"\s+and\s+", text, flags=re.IGNORECASE) if text.strip() else ():
        match = _COMPARISON.fullmatch(part)
        name = match[1].lower() if match else ""
        if match is None or (name not in _FIELDS and name not in _OTHERS):
            message = f"Invalid $filter '{text}' specified in the query string."  # the end of ARM's words is unknown
            raise ArmError(400, "InvalidFilterInQueryString", message, gateway=True)
        wanted[name] = match[2].replace("''", "'").lower()
    return wanted


def fits(body: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether a resource or group has all the wanted values."""
    tags = {name.lower(): str(value).lower() for name, value in (body.get("tags") or {}).items()}
    parts = str(body["id"]).lower().split("/")
    group = parts[4] if len(parts) > 4 else ""
    for name, value in wanted.items():
        if name in _FIELDS and str(body.get(_FIELDS[name], "")).lower() != value:
            return False
        if name == "resourcegroup" and group != value:
            return False
        if name == "tagname" and value not in tags:
            return False
        if name == "tagvalue" and tags.get(wanted.get("tagname", "")) != value:
            return False
    return True
