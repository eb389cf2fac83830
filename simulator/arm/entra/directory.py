"""The applications of the tenant that may sign in with a secret, each with its service principal."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServicePrincipal:
    """`client_id` is the application's id, `principal_id` the object to which roles are assigned."""

    name: str
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    principal_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(30), repr=False)


class Directory:
    """All service principals, by client id."""

    def __init__(self) -> None:
        self._principals: dict[str, ServicePrincipal] = {}

    def add(self, name: str) -> ServicePrincipal:
        """Register an application; its principal may do everything until it has a role."""
        principal = ServicePrincipal(name)
        self._principals[principal.client_id] = principal
        return principal

    def find(self, client_id: str) -> ServicePrincipal | None:
        return self._principals.get(client_id.lower())
