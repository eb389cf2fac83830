"""What every command shares: the error for bad input, and JSON that steers no terminal."""

from __future__ import annotations

import argparse
import json
from typing import Any

type Commands = argparse._SubParsersAction[argparse.ArgumentParser]


class BadInput(Exception):
    """The caller's input is wrong; the text names the input, the place in it and the mend. Exit code 2."""


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON for programs and for people: letters of all languages as they are, everything that is not printable escaped.

    What YAML knows and JSON does not (dates, keys that are no text) is written as text, or left out."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str, skipkeys=True)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(character)[1:-1]
