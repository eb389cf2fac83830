"""Several workspaces in one policy: which one a VM is to report to.

`workspaces:` lists them with a condition each, in the policy grammar, over region, subscription, tags or anything
else of the VM; the first that holds decides, and its settings go over the policy's own.
"""

from __future__ import annotations

from copy import replace
from datetime import datetime

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy.workspaces import Workspace, choose


def routed(policy: Policy, facts: MachineFacts, now: datetime) -> Policy:
    """The policy as it is for this VM. Where no workspace fits, its own settings have to do; where that cannot be told,
    the policy does not select the VM."""
    workspace, _ = choose(policy.workspaces, facts, now)
    return policy if workspace is None else _with(policy, workspace)


def routed_to(policy: Policy, name: str) -> Policy:
    """The policy as it is for VMs of the workspace of that name; for an empty one, by its own settings."""
    if not name:
        return policy
    for workspace in policy.workspaces:
        if workspace.name == name:
            return _with(policy, workspace)
    problem = f"policy {policy.name} has no workspace {as_written(name)}"
    fix = known_names("workspaces", (workspace.name for workspace in policy.workspaces), name)
    raise ConfigurationError("workspace", problem, fix)


def routes(policy: Policy) -> tuple[Policy, ...]:
    """The policy as it is for each of its workspaces; itself where it has none."""
    return tuple(_with(policy, workspace) for workspace in policy.workspaces) or (policy,)


def tuned(entry: CatalogueEntry, policy: Policy) -> CatalogueEntry:
    """The catalogue entry as the policy wants it asked for."""
    upgrade = policy.auto_upgrade_minor_version
    return entry if upgrade is None else replace(entry, auto_upgrade_minor_version=upgrade)


def _with(policy: Policy, workspace: Workspace) -> Policy:
    return replace(
        policy,
        settings={**policy.settings, **workspace.settings},
        protected_settings={**policy.protected_settings, **workspace.protected_settings},
        workspaces=(),  # chosen
    )
