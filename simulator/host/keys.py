"""Access keys: one master key for all endpoints, checked only if authorization is switched on.

The real host also has host, function and system keys; the one key here replaces all of them.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Keys:
    """Without a key every request is allowed, as with Core Tools."""

    master: str | None = field(default=None, repr=False)

    def allow(self, level: str, request: web.Request) -> bool:
        """`level` is `anonymous`, `function`, `system` or `admin`; the key is in `code` or `x-functions-key`."""
        if self.master is None or level == "anonymous":
            return True
        given = request.headers.get("x-functions-key") or request.query.get("code") or ""
        return hmac.compare_digest(given.encode(), self.master.encode())
