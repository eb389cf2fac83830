"""What the page answers: body, status and headers, which `function_app` hands to the host."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

from msgspec import Struct, field

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every answer. A browser then loads and runs nothing that is not ours, whatever a text of a machine says."""
_WORTH_IT = 1024  # bytes; smaller answers are not compressed
_LEVEL = 5


class Answer(Struct, frozen=True):
    """An answer to one HTTP request."""

    body: bytes
    status: int = 200
    mimetype: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)

    def sent(self, accepted: str = "") -> tuple[bytes, dict[str, str]]:
        """Body and headers, compressed if the browser accepts that. A page holds no secret that a compressed length
        could give away: no key, no token."""
        headers = {**HEADERS, **self.headers}
        if len(self.body) < _WORTH_IT or "gzip" not in accepted.lower() or "Content-Encoding" in headers:
            return self.body, headers
        return gzip.compress(self.body, _LEVEL, mtime=0), {
            **headers,
            "Content-Encoding": "gzip",
            "Vary": "Accept-Encoding",
        }


def redirect(to: str) -> Answer:
    """Show that page instead, with GET."""
    return Answer(b"", 303, "text/plain", {"Location": to})
