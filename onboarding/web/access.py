"""Who may see the page, and who may change something there.

In Azure, App Service authentication signs people in and passes who they are in a header. Without it anybody could send
that header, so it counts only while the platform says that authentication is on. On a laptop there is nobody to sign
in, so only requests to a loopback address are answered. Everything else is refused, with the reason.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from msgspec import Struct

READER, OPERATOR = "Onboarding.Reader", "Onboarding.Operator"
SIGN_IN = "/.auth/login/aad"
_PRINCIPAL = "x-ms-client-principal"
_AUTH = "WEBSITE_AUTH_ENABLED"  # set by the platform alone
# Each of these is set by the platform, on one plan or another, and by no laptop.
_OF_AZURE = ("WEBSITE_INSTANCE_ID", "WEBSITE_POD_NAME", "LEGION_SERVICE_HOST", "WEBSITE_OWNER_NAME", _AUTH)
_LAPTOP = "AZURE_FUNCTIONS_ENVIRONMENT"  # `Development` under Core Tools and the simulated host
_ROLE_CLAIMS = ("roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role")
_OBJECT_ID_CLAIMS = ("http://schemas.microsoft.com/identity/claims/objectidentifier", "oid")
_LARGEST = 64 * 1024  # characters of the header
_FORWARDED = ("x-forwarded-for", "forwarded", "x-forwarded-host", "x-original-host")


class Person(Struct, frozen=True):
    """Whoever sends a request."""

    object_id: str
    """In Microsoft Entra ID; empty on a laptop."""
    roles: frozenset[str]

    @property
    def may_read(self) -> bool:
        return bool(self.roles & {READER, OPERATOR})

    @property
    def may_act(self) -> bool:
        return OPERATOR in self.roles


class Refusal(Struct, frozen=True):
    """Why a request is not answered."""

    status: int
    reason: str
    fix: str
    sign_in: bool = False
    """Whether signing in may help."""


def who(environment: Mapping[str, str], headers: Mapping[str, str]) -> Person | Refusal:
    """Whoever sends the request, with a role; or why it is refused. Names of headers are in lower case."""
    if any(environment.get(name) for name in _OF_AZURE):
        if environment.get(_AUTH, "").strip().lower() != "true":
            fix = "switch on App Service authentication with Microsoft Entra ID (docs/operating/page.md)"
            return Refusal(
                503, "the page is closed: App Service authentication is off, so it is not known who asks", fix
            )
        return _signed_in(headers.get(_PRINCIPAL, ""))
    if environment.get(_LAPTOP, "").strip().lower() != "development":
        fix = f"start the app with `func start`, or set {_LAPTOP} to Development where it runs on a laptop"
        return Refusal(503, "the page is closed: it is not known where the app runs", fix)
    host = headers.get("host", "")
    if not _is_loopback(host) or any(name in headers for name in _FORWARDED):
        fix = "open it on the laptop itself, such as http://localhost:7071/api/ui"
        return Refusal(503, "the page is closed: on a laptop it answers at a loopback address alone", fix)
    return Person("", frozenset({READER, OPERATOR}))


def cross_site(headers: Mapping[str, str]) -> Refusal | None:
    """Why a request that changes something is refused: it may come from a page of another site. None: it is our own
    page's. Browsers say so by `Sec-Fetch-Site`, old ones by `Origin` alone."""
    refused = Refusal(403, "the request does not come from this page", "open the page and use its own buttons")
    site = headers.get("sec-fetch-site")
    if site is not None:
        return None if site.strip().lower() == "same-origin" else refused
    origin, host = headers.get("origin", "").lower(), headers.get("host", "").strip().lower()
    return None if host and origin in (f"https://{host}", f"http://{host}") else refused


def _signed_in(header: str) -> Person | Refusal:
    refused = Refusal(401, "nobody is signed in", "sign in with Microsoft Entra ID", sign_in=True)
    principal = _decoded(header)
    if principal is None or principal.get("auth_typ") != "aad":
        return refused
    claims = [(str(each.get("typ")), str(each.get("val"))) for each in principal["claims"] if isinstance(each, dict)]
    role_claims = {*_ROLE_CLAIMS, str(principal.get("role_typ") or "roles")}
    roles = frozenset(value for kind, value in claims if kind in role_claims)
    object_id = _object_id([value for kind, value in claims if kind in _OBJECT_ID_CLAIMS])
    if not object_id:
        return refused
    person = Person(object_id, roles & {READER, OPERATOR})
    if person.may_read:
        return person
    fix = f"ask for the app role {READER}, or {OPERATOR} to change something, in the enterprise application"
    return Refusal(403, f"your account has neither of the app roles {READER} and {OPERATOR}", fix)


def _object_id(claimed: Sequence[str]) -> str:
    """The one id that the claims name; empty: they name none, or more than one. It is written down for every action."""
    try:
        ids = {str(UUID(each)) for each in claimed}
    except ValueError:
        return ""
    return ids.pop() if len(ids) == 1 else ""


def _decoded(header: str) -> dict[str, Any] | None:
    if not header or len(header) > _LARGEST:
        return None
    try:
        found = json.loads(b64decode(header, validate=True))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("claims"), list) else None


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
