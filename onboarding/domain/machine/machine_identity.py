"""The managed identities of a machine, as ARM shows them (`identity` of its body)."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from onboarding.domain.json_access import mapping, text
from onboarding.domain.resource_id import fold_id

SYSTEM = "system"
"""The name of the system-assigned identity among the ids of user-assigned ones."""


class MachineIdentity(Struct, frozen=True):
    """The identities that a machine has. ARM may spell an id differently each time, so ids are compared folded."""

    system: bool = False
    """Whether it has the system-assigned identity, which exists once ARM shows its principal."""
    users: Mapping[str, str] = field(default_factory=dict)
    """The ids of its user-assigned identities as ARM spells them, by their folded form."""
    clients: Mapping[str, str] = field(default_factory=dict)
    """The client ids of the user-assigned ones, by their folded form; one that ARM does not show yet is left out."""

    @property
    def names(self) -> frozenset[str]:
        """All of them: `system`, and the folded ids."""
        return frozenset(self.users) | ({SYSTEM} if self.system else set())


def read_identity(value: object) -> MachineIdentity:
    """Read `identity` of a machine's body; what cannot be read counts as absent."""
    raw = mapping(value)
    kinds = {part.strip().lower() for part in text(raw.get("type")).split(",")}
    system = "systemassigned" in kinds and bool(text(raw.get("principalId")))
    if "userassigned" not in kinds:
        return MachineIdentity(system)
    assigned = mapping(raw.get("userAssignedIdentities"))
    users = {fold_id(name): name for name in assigned if isinstance(name, str)}
    clients = {key: text(mapping(assigned[name]).get("clientId")) for key, name in users.items()}
    return MachineIdentity(system, users, {key: client for key, client in clients.items() if client})
