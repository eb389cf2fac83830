"""Log Analytics workspaces, as the targets of data and of queries: a resource id, and a GUID that queries name."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from simulator.arm.compute.machines import Machines


@dataclass(frozen=True, slots=True)
class Workspace:
    id: str
    guid: str
    """`properties.customerId`, in lower case: the workspace id of agents and of queries."""


class Workspaces:
    """All workspaces, by resource id or GUID in any spelling."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._workspaces: dict[str, Workspace] = {}

    def add(self, resource_id: str, guid: str = "") -> Workspace:
        """Create a workspace. Its subscription and group exist from then on."""
        _, _, subscription, _, group, *_ = resource_id.split("/")
        self._machines.add_group(subscription, group, "westeurope")
        workspace = Workspace(resource_id, (guid or str(uuid.uuid4())).lower())
        self._workspaces[workspace.guid] = self._workspaces[resource_id.lower()] = workspace
        return workspace

    def remove(self, workspace: Workspace) -> None:
        """Delete a workspace: agents go on sending to it."""
        self._workspaces.pop(workspace.guid, None)
        self._workspaces.pop(workspace.id.lower(), None)

    def find(self, key: str) -> Workspace | None:
        return self._workspaces.get(key.lower())
