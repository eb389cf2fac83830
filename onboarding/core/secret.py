"""A text that hides itself: it shows in no repr, string, comparison or pickle, and is revealed by one word only.

Whoever holds a value as a `Secret` also has it masked in every text that this process writes down (`masking.mask`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from onboarding.core.known_secrets import KNOWN


class Secret:
    """Wraps a secret value. `reveal()` is the one way to it, so that a search finds every use."""

    __slots__ = ("__value",)

    def __init__(self, value: str, parts: Iterable[str] | None = None) -> None:
        """`parts` says what of the value is secret where not all of it is: of a connection string, the key."""
        self.__value = value
        for secret in (value,) if parts is None else parts:
            KNOWN.remember(secret)

    def reveal(self) -> str:
        return self.__value

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
