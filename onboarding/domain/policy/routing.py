"""Several workspaces in one policy: which one a VM reports to.

`workspaces:` lists them with a condition each, in the policy grammar, over region, subscription, tags or anything
else of the VM. The first whose condition holds is used, and its settings replace the policy's own.
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
    """The policy with the settings for this VM: those of its workspace, else the policy's own. A policy for which the
    workspace is undecided does not select the VM."""
    workspace, _ = choose(policy.workspaces, facts, now)
    return policy if workspace is None else _with(policy, workspace)


def routed_to(policy: Policy, name: str) -> Policy:
    """The policy with the settings of the workspace of that name; with its own for an empty name."""
    if not name:
        return policy
    for workspace in policy.workspaces:
        if workspace.name == name:
            return _with(policy, workspace)
    problem = f"policy {policy.name} has no workspace {as_written(name)}"
    fix = known_names("workspaces", (workspace.name for workspace in policy.workspaces), name)
    raise ConfigurationError("workspace", problem, fix)


def routes(policy: Policy) -> tuple[Policy, ...]:
    """The policy with the settings of each of its workspaces; itself if it has none."""
    return tuple(_with(policy, workspace) for workspace in policy.workspaces) or (policy,)


def tuned(entry: CatalogueEntry, policy: Policy) -> CatalogueEntry:
    """The catalogue entry with the policy's choice of automatic upgrades."""
    upgrade = policy.auto_upgrade_minor_version
    return entry if upgrade is None else replace(entry, auto_upgrade_minor_version=upgrade)


def _with(policy: Policy, workspace: Workspace) -> Policy:
    return replace(
        policy,
        settings={**policy.settings, **workspace.settings},
        protected_settings={**policy.protected_settings, **workspace.protected_settings},
        workspaces=(),  # the workspace is chosen
    )
