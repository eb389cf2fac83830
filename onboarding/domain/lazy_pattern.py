"""Regular expressions that are compiled when they are first looked for.

Some two hundred of them read failures, and compiling them takes longer than all else of a process's start. Most
processes never meet a failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


class Pattern:
    """What `re.compile` gives, but later. Each method raises re.error for a text that is no regular expression."""

    __slots__ = ("_compiled", "_flags", "text")

    def __init__(self, text: str, flags: int = 0) -> None:
        self.text = text
        self._flags = flags
        self._compiled: re.Pattern[str] | None = None

    def compiled(self) -> re.Pattern[str]:
        if self._compiled is None:
            self._compiled = re.compile(self.text, self._flags)
        return self._compiled

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        return self.compiled().search(text, start)

    def match(self, text: str, start: int = 0) -> re.Match[str] | None:
        return self.compiled().match(text, start)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        return self.compiled().finditer(text)
