"""A short name for a value, the same wherever and whenever it is made: to tell whether two values are equal."""

from __future__ import annotations

import hashlib
import json


def digest(value: object) -> str:
    """16 hexadecimal characters for a value as JSON writes it, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]
