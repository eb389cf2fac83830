"""What a policy wants of a machine besides its extension: an identity, and associations with data collection rules; or
before the extension is removed: a heartbeat."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from onboarding.domain.catalog.entry_file import IdentityNeed as EntryNeed
from onboarding.domain.catalog.setting_templates import app_settings_in, fill
from onboarding.domain.machine.machine_identity import SYSTEM
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.steps.association_step import AssociationNeed
from onboarding.domain.reconcile.steps.identity_step import NONE, IdentityNeed, RestrictedNeed


class StepNeeds(Struct, frozen=True):
    """The needs with the values of the app settings."""

    identity: IdentityNeed | None = None
    """None if the policy wants no identity."""
    associations: AssociationNeed = AssociationNeed()
    problems: tuple[str, ...] = ()
    """What is wrong with them, as sentences for people; with a problem nothing is sent."""
    heartbeat: str = ""
    """The id of the workspace that must have a heartbeat before a removal; empty if none is asked for."""


def step_needs(policy: Policy, app_settings: Mapping[str, str]) -> StepNeeds:
    """The policy's needs. An identity whose app setting is not set is the system-assigned one, and an endpoint whose
    app setting is not set is not wanted; a rule's must be set."""
    if policy.only_after is not None and policy.only_after.heartbeat:
        return _heartbeat(policy.only_after.heartbeat, app_settings)
    if policy.identity is None and not policy.associations.subjects:
        return StepNeeds()
    missing = [name for name in app_settings_in(list(policy.associations.rules)) if not app_settings.get(name)]
    problems = tuple(f"app setting {name} is not set" for name in missing)
    rules = tuple(_filled(rule, app_settings) for rule in policy.associations.rules)
    endpoint = policy.associations.endpoint
    if any(not app_settings.get(name) for name in app_settings_in(endpoint)):
        endpoint = ""
    associations = AssociationNeed(rules, _filled(endpoint, app_settings))
    return StepNeeds(_identity(policy.identity, app_settings), AssociationNeed() if missing else associations, problems)


def with_entry_need(need: IdentityNeed | None, of_entry: EntryNeed) -> IdentityNeed | None:
    """The policy's need, with what the extension itself needs. A policy without `identity` adds none: then one has to
    be there. An extension that takes any installs without one too, so there the policy alone decides."""
    if of_entry in (EntryNeed.NONE, EntryNeed.ANY):
        return need
    need = need or IdentityNeed(add=NONE)
    return RestrictedNeed(need.use, need.add, need.beside_others, of_entry)


def _heartbeat(workspace: str, app_settings: Mapping[str, str]) -> StepNeeds:
    missing = [name for name in app_settings_in(workspace) if not app_settings.get(name)]
    return StepNeeds(
        heartbeat="" if missing else _filled(workspace, app_settings),
        problems=tuple(f"app setting {name} is not set" for name in missing),
    )


def _identity(need: IdentityNeed | None, app_settings: Mapping[str, str]) -> IdentityNeed | None:
    if need is None:
        return None
    if any(not app_settings.get(name) for name in app_settings_in(need.add)):
        return IdentityNeed(need.use, SYSTEM, need.beside_others)
    return IdentityNeed(need.use, _filled(need.add, app_settings) or SYSTEM, need.beside_others)


def _filled(text: str, app_settings: Mapping[str, str]) -> str:
    return str(fill({"": text}, app_settings, None).get("", "")) if text else ""
