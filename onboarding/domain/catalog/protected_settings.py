"""Protected settings, which only the request to ARM shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from onboarding.domain.secret import Secret


class ProtectedSettings:
    """Wraps protected settings of any depth. Only `reveal()` returns them, so a search finds every use."""

    __slots__ = ("__values",)

    def __init__(self, values: Mapping[str, Any], secrets: Iterable[object]) -> None:
        """`secrets` are the values in them that no text may show."""
        self.__values = values
        for each in secrets:
            Secret(str(each))  # registers the value, so that our texts mask it

    def reveal(self) -> Mapping[str, Any]:
        return self.__values

    def __repr__(self) -> str:
        return "ProtectedSettings(***)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("protected settings are not pickled")
