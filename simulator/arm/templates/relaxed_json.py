"""The JSON that ARM accepts in the body of a deployment: with comments, names without quotes, texts in single quotes or
over several lines, and commas at the end. `az deployment` sends a template as its file has it, under such a name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from simulator.arm.http import errors

_TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*|/\*.*?\*/)"
    r"|(?P<text>\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<single>'(?:[^'\\]|\\.)*')"
    r"|(?P<name>[A-Za-z_$][\w$]*)(?=\s*:)"
    r"|(?P<comma>,)(?=(?:\s+|//[^\n]*|/\*.*?\*/)*[\]}])"
    r"|(?P<other>[,:\[\]{}]|[^\s\"'/,:\[\]{}]+)",
    re.DOTALL,
)

_QUOTE = re.compile(r"\\.|\"", re.DOTALL)


def read_relaxed_json(data: bytes) -> dict[str, Any]:
    """The object in a deployment's body. Raises ARM's refusal of anything else."""
    try:
        body = json.loads("".join(_strict(data.decode("utf-8-sig"))), strict=False)
    except ValueError as problem:
        raise errors.invalid_content(f"Unexpected character encountered while parsing value. {problem}") from None
    if not isinstance(body, dict) or not isinstance(body.get("properties", {}), dict):
        raise errors.invalid_content("Error converting value to type 'DeploymentContent'. Path '', line 1, position 1.")
    return body


def _strict(text: str) -> Iterator[str]:
    """The same document token by token, as JSON has to be written. Raises ValueError where no token can begin."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"position {at}")
        at = match.end()
        match match.lastgroup:
            case "space" | "comma":
                yield " "
            case "name":
                yield json.dumps(match["name"])
            case "single":
                yield f'"{_QUOTE.sub(_double_quoted, match["single"][1:-1])}"'
            case _:
                yield match[0]


def _double_quoted(found: re.Match[str]) -> str:
    """An escape or a quote inside of single quotes, as it is inside of double ones."""
    return {"\\'": "'", '"': '\\"'}.get(found[0], found[0])
