"""Protected settings, which only the request to ARM shows, and the keyed digest that shows that they changed.

A plain digest of a short password would give it away to whoever reads the table and tries passwords. So a digest is
kept only with a key, which is in no table: nobody can try passwords without it, and without a key there is no digest.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from onboarding.domain.secret import Secret

DIGEST_KEY = "ONBOARDING_DIGEST_KEY"
"""The app setting with the key."""
SHORTEST_KEY = 32  # characters


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


def keyed_digest(protected: ProtectedSettings, key: str) -> str:
    """A digest of the settings that nobody without the key can compare with anything, 16 hexadecimal characters; empty
    with a key that is too short to protect them, such as none."""
    if len(key) < SHORTEST_KEY:
        return ""
    text = json.dumps(protected.reveal(), sort_keys=True, separators=(",", ":"), default=str)
    return hmac.new(key.encode(), text.encode(errors="backslashreplace"), hashlib.sha256).hexdigest()[:16]
