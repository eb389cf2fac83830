"""The roles with which the app is deployed, read from where they are shipped: infra/roles.json, of which the templates
make custom roles. Demo and storm run with exactly these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import replace
from pathlib import Path

from simulator.arm import ArmSimulator, Role, read_role

ROLES = Path(__file__).resolve().parent.parent / "infra" / "roles.json"


def machine_role() -> Role:
    """Reads VMs and writes their extensions."""
    return shipped_role("machines")


def association_role() -> Role:
    return shipped_role("associations")


def identity_role() -> Role:
    return shipped_role("identities")


def removal_role() -> Role:
    return shipped_role("removals")


def heartbeat_role() -> Role:
    """Reads the heartbeats of a workspace; needed there, and not on VMs."""
    return shipped_role("heartbeats")


def shipped_role(key: str) -> Role:
    """The role of that key. Raises KeyError, or ValueError if it has no actions."""
    return read_role(json.loads(ROLES.read_text("utf-8"))[key])


def assign_shipped_roles(arm: ArmSimulator, subscriptions: Iterable[str], without: str = "") -> None:
    """From now on the app may do in these subscriptions what the shipped roles allow, except the operation `without`,
    and nothing else."""
    for subscription in subscriptions:
        for role in (machine_role(), association_role(), identity_role(), removal_role()):
            less = replace(role, not_actions=(*role.not_actions, without)) if without else role
            arm.scopes.assign(arm.options.principal_id, f"/subscriptions/{subscription}", less)


def assign_heartbeat_role(arm: ArmSimulator, workspace: str) -> None:
    """From now on the app may read the heartbeats in the workspace of that id."""
    arm.scopes.assign(arm.options.principal_id, workspace, heartbeat_role())
