"""What a template has in place of a value: an expression that the deployment computes, or a parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "${": "\\${"}
_SPECIAL = re.compile("|".join(re.escape(text) for text in _ESCAPES))


def bicep_text(text: str) -> str:
    """A text as Bicep writes it."""
    return f"'{_SPECIAL.sub(lambda found: _ESCAPES[found[0]], text)}'"


class Expression(Struct, frozen=True):
    """An expression that the deployment computes, in both languages."""

    arm: str
    bicep: str


class Parameter(Struct, frozen=True):
    """A parameter of the template."""

    name: str
    description: str
    secure: bool = False
    default: str | Mapping[str, Any] | Expression | None = None  # None if the deployment must give a value
    type: str = "string"  # in the words of templates

    @property
    def reference(self) -> Expression:
        return Expression(f"parameters('{self.name}')", self.name)


def literal(text: str) -> Expression:
    """A text inside of an expression."""
    escaped = text.replace("'", "''")
    return Expression(f"'{escaped}'", bicep_text(text))
