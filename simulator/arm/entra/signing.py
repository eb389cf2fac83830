"""Tokens as Microsoft Entra makes them: JSON web tokens (RFC 7519), signed with RS256 by a key of this process."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

_EXPONENT, _BITS = 65_537, 2_048


class SigningKey:
    """A key pair. `id` is its name in the header of each token (`kid`)."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(_EXPONENT, _BITS)
        self._modulus = _number(self._key.public_key().public_numbers().n)
        self.id = _encoded(hashlib.sha256(self._modulus.encode()).digest()[:20])

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The token with these claims."""
        header = {"typ": "JWT", "alg": "RS256", "x5t": self.id, "kid": self.id}
        signed = f"{_part(header)}.{_part(claims)}"
        return f"{signed}.{_encoded(self._key.sign(signed.encode(), PKCS1v15(), hashes.SHA256()))}"

    def public(self) -> dict[str, str]:
        """The public key as a JSON web key (RFC 7517)."""
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.id,
            "x5t": self.id,
            "n": self._modulus,
            "e": _number(_EXPONENT),
        }


@cache
def signing_key() -> SigningKey:
    """The key of this process; it takes a tenth of a second to make, so all simulators share it."""
    return SigningKey()


def _part(value: Mapping[str, Any]) -> str:
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
