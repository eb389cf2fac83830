"""The identity of a machine and how a write changes it: `type` is absolute, the user-assigned ids are merged.

So a write of `{"type": "SystemAssigned"}` drops every user-assigned id, and one of a single id keeps the others. One id
that does not exist, also one that was on the machine before, makes Azure refuse the whole write.
"""

from __future__ import annotations

import re
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.arm.http import errors
from simulator.arm.identity import refusals
from simulator.arm.identity.user_identities import UserIdentities, UserIdentity

SYSTEM = "system"
_TYPES = {
    "systemassigned": (True, False),
    "userassigned": (False, True),
    "systemassigned,userassigned": (True, True),
    "none": (False, False),
}


@dataclass(frozen=True, slots=True)
class MachineIdentity:
    """`principal_id` is that of the system-assigned identity, empty without one; `users` are the user-assigned ones by
    folded id; `emptied`: a write has removed everything, which a GET shows."""

    principal_id: str = ""
    users: Mapping[str, UserIdentity] = field(default_factory=dict)
    tenant: str = ""
    emptied: bool = False

    @property
    def type(self) -> str:
        words = ["SystemAssigned"] if self.principal_id else []
        return ", ".join([*words, "UserAssigned"] if self.users else words) or "None"

    def held(self) -> set[str]:
        """The identities that it has: folded ids, and `system`."""
        return {*self.users, SYSTEM} if self.principal_id else set(self.users)

    def body(self, unsettled: frozenset[str]) -> dict[str, Any] | None:
        """What a GET of the machine shows. Of an identity that is just being added, the ids may still be missing."""
        if not self.held():
            return {"type": "None"} if self.emptied else None
        system = {"principalId": self.principal_id, "tenantId": self.tenant} if self.principal_id else {}
        body: dict[str, Any] = {**system, "type": self.type}
        if self.users:
            body["userAssignedIdentities"] = {
                user.shown_id: {} if key in unsettled and _comes_empty(key) else _ids(user)
                for key, user in self.users.items()
            }
        return body


NOTHING = MachineIdentity()


def changed(current: MachineIdentity, raw: Mapping[str, Any], identities: UserIdentities, vm: str) -> MachineIdentity:
    """The identity after a write of `raw`. Raises ARM's refusal."""
    system, user = _read_type(raw.get("type"))
    given = raw.get("userAssignedIdentities") or {}
    _check_ids(given, str(raw.get("type")), user=user)
    merged: dict[str, UserIdentity] = dict(current.users) if user else {}
    for resource_id, value in given.items():
        if value is None:
            merged.pop(resource_id.lower(), None)
            continue
        found = identities.find(resource_id)
        if found is None:
            raise refusals.identity_not_found(vm, resource_id)
        merged[found.key] = found
    if user and not merged:
        raise refusals.ids_missing()
    for each in merged.values():
        if not identities.is_alive(each):
            raise refusals.identity_not_found(vm, each.id)
    principal = (current.principal_id or str(uuid.uuid4())) if system else ""
    return MachineIdentity(principal, merged, identities.tenant, emptied=not system and not merged)


def assigned_ids(raw: object) -> Iterator[str]:
    """The user-assigned ids that a write assigns: those without null."""
    if isinstance(raw, Mapping):
        given = raw.get("userAssignedIdentities") or {}
        yield from (resource_id for resource_id, value in given.items() if value is not None)


def _read_type(raw: object) -> tuple[bool, bool]:
    found = _TYPES.get(re.sub(r"\s", "", str(raw or "")).lower())
    if found is None:  # inferred: a type that is missing or unknown
        raise errors.invalid_parameter("identity.type")
    return found


def _check_ids(given: Mapping[str, Any], type_: str, *, user: bool) -> None:
    if given and not user:
        raise refusals.ids_not_allowed(type_)
    seen: set[str] = set()
    for resource_id in given:
        if resource_id.lower() in seen:
            raise refusals.id_duplicated(resource_id)
        seen.add(resource_id.lower())


def _ids(user: UserIdentity) -> dict[str, str]:
    return {"principalId": user.principal_id, "clientId": user.client_id}


def _comes_empty(key: str) -> bool:
    return zlib.crc32(f"{key}|empty".encode()) % 2 == 0
