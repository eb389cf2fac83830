"""Regular expressions that are compiled when they are first used.

Some two hundred of them classify failures, and a hundred read the names of images. Compiling all of them takes longer
than the rest of a process's start. Most processes never have a failure to classify, and one image needs few of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator


class Pattern:
    """Like the result of `re.compile`, but compiled later. Each method raises re.error for an invalid expression."""

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

    def sub(self, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        return self.compiled().sub(replacement, text)
