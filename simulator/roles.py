"""The roles with which the app is deployed, read from where they are shipped: the narrow one for VMs in
docs/deploying.md, and the three optional ones of infra/subscription.bicep. Demo and storm run with exactly these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from copy import replace
from pathlib import Path

from simulator.arm import ArmSimulator, Role, read_role

_ROOT = Path(__file__).resolve().parent.parent
_JSON = re.compile(r"```json\n(\{.*?\})\n```", re.DOTALL)
_ACTION = re.compile(r"'(Microsoft\.\w+/[\w/]+)'")


def machine_role() -> Role:
    """Reads VMs and writes their extensions. Raises LookupError if docs/deploying.md has no role."""
    found = _JSON.search((_ROOT / "docs" / "deploying.md").read_text("utf-8"))
    if found is None:
        raise LookupError("docs/deploying.md has no role definition in a block of JSON")
    return read_role(json.loads(found[1]))


def association_role() -> Role:
    return _of_template("associationRole")


def identity_role() -> Role:
    return _of_template("identityRole")


def removal_role() -> Role:
    return _of_template("removalRole")


def heartbeat_role() -> Role:
    """Reads the heartbeats of a workspace; needed there, and not on VMs."""
    return _of_template("role", "modules/heartbeats.bicep")


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


def _of_template(name: str, file: str = "subscription.bicep") -> Role:
    """The role of a resource of a template. Raises LookupError if it has no actions."""
    text = (_ROOT / "infra" / file).read_text("utf-8")
    declaration = text.partition(f"resource {name} ")[2].partition("\n}\n")[0]
    actions = _ACTION.findall(declaration.partition("actions:")[2])
    if not actions:
        raise LookupError(f"infra/{file} has no resource {name} with actions")
    return Role(tuple(actions))
