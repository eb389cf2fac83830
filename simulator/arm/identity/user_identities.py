"""The user-assigned identities of the tenant, as resources that exist or do not."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

IDENTITY_TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """One identity; after its deletion, another one under the same id has other principal and client ids."""

    id: str
    location: str
    principal_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def key(self) -> str:
        return self.id.lower()

    @property
    def shown_id(self) -> str:
        """The id as answers about a VM spell it: of some, `resourcegroups` comes back in lower case."""
        lower = zlib.crc32(self.key.encode()) % 2 == 0
        return self.id.replace("/resourceGroups/", "/resourcegroups/") if lower else self.id


class UserIdentities:
    """All user-assigned identities, by id in any spelling; `tenant` is theirs, `add_group` creates a group."""

    def __init__(self, tenant: str, add_group: Callable[[str, str, str], object]) -> None:
        self._add_group = add_group
        self._identities: dict[str, UserIdentity] = {}
        self.tenant = tenant

    def __iter__(self) -> Iterator[UserIdentity]:
        return iter(list(self._identities.values()))

    def add(self, resource_id: str, location: str = "westeurope") -> UserIdentity:
        """Create the identity, or return the one that is there; its subscription and group exist from then on."""
        found = self.find(resource_id)
        if found is not None:
            return found
        _, _, subscription, _, group, *_ = resource_id.split("/")
        self._add_group(subscription, group, location)
        identity = UserIdentity(resource_id, location)
        self._identities[identity.key] = identity
        return identity

    def add_all(self, resource_ids: Iterable[str]) -> None:
        for resource_id in resource_ids:
            self.add(resource_id)

    def delete(self, resource_id: str) -> None:
        """Delete the identity. VMs that have it keep its id, as in Azure."""
        self._identities.pop(resource_id.lower(), None)

    def find(self, resource_id: str) -> UserIdentity | None:
        return self._identities.get(resource_id.lower())

    def is_alive(self, identity: UserIdentity) -> bool:
        """Whether it is still the one under its id."""
        return self.find(identity.id) is identity

    def body(self, identity: UserIdentity) -> dict[str, Any]:
        """The answer to a GET of the identity."""
        properties = {
            "tenantId": self.tenant,
            "principalId": identity.principal_id,
            "clientId": identity.client_id,
        }
        return {
            "id": identity.id,
            "name": identity.id.rpartition("/")[2],
            "type": IDENTITY_TYPE,
            "location": identity.location,
            "properties": properties,
        }
