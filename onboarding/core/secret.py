"""A text that hides itself: it shows in no repr, string, comparison or pickle, and is revealed by one word only."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Wraps a secret value. `reveal()` is the one way to it, so that a search finds every use."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

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
