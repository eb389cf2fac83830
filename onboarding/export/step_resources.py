"""The identity and the associations of a template: what a policy wants on the machine besides its extension."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.entry_file import IdentityNeed
from onboarding.domain.catalog.setting_templates import app_settings_in
from onboarding.domain.machine.machine_identity import SYSTEM
from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy.step_needs import step_needs
from onboarding.domain.reconcile.steps.association_step import association_request
from onboarding.domain.reconcile.steps.identity_step import NONE, IdentityUse
from onboarding.domain.resource_id import VmId, name_in
from onboarding.export.template_values import Expression, Parameter

ASSOCIATIONS = "Microsoft.Insights/dataCollectionRuleAssociations"
_ANY = VmId("s", "g", "v")


class AssociationResource(Struct, frozen=True):
    """One association with a data collection rule or endpoint."""

    name: str | Expression
    properties: Mapping[str, Any]
    """With a `Parameter` for an id that is not known here."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(value for value in self.properties.values() if isinstance(value, Parameter))

    def filled(self) -> dict[str, Any]:
        """The properties with references in place of parameters."""
        return {
            key: value.reference if isinstance(value, Parameter) else value for key, value in self.properties.items()
        }


def identity_of(policy: Policy, app_settings: Mapping[str, str]) -> Mapping[str, Any]:
    """The `identity` of the VM's resource, as for a VM without one; empty if the policy adds none."""
    need = step_needs(policy, app_settings).identity
    if need is None or need.add in ("", NONE):
        return {}
    if need.add == SYSTEM:
        return {"type": "SystemAssigned"}
    return {"type": "UserAssigned", "userAssignedIdentities": {need.add: {}}}


def named_identity_of(policy: Policy, entry: CatalogueEntry, app_settings: Mapping[str, str]) -> str:
    """The id that the extension's settings must name: that of a policy that uses only the identity that it adds, or
    adds one for an extension whose settings must name it."""
    need = step_needs(policy, app_settings).identity
    if need is None or need.add in ("", NONE, SYSTEM):
        return ""
    return need.add if need.use is IdentityUse.ADDED or entry.needs.identity is IdentityNeed.NAMED else ""


def associations_of(policy: Policy, app_settings: Mapping[str, str]) -> tuple[AssociationResource, ...]:
    """The associations, as the product's own requests write them."""
    names = [name for rule in policy.associations.rules for name in app_settings_in(rule) if not app_settings.get(name)]
    known = step_needs(policy, {**app_settings, **{name: f"{{{name}}}" for name in names}}).associations
    return tuple(_resources(known.rules, known.endpoint))


def _resources(rules: tuple[str, ...], endpoint: str) -> Iterator[AssociationResource]:
    for number, rule in enumerate(rules, 1):
        body = association_request(_ANY, rule)
        properties = body.body["properties"]
        if not rule.startswith("{"):
            yield AssociationResource(name_in(body.path), properties)
            continue
        # The request's name is made from the id, which is not known here.
        name = f"dataCollectionRuleId{number if number > 1 else ''}"
        parameter = Parameter(name, f"Id of the data collection rule of the app setting {rule.strip('{}')}.")
        unique = Expression(
            f"concat('onboarding-', uniqueString(parameters('{name}')))", f"'onboarding-${{uniqueString({name})}}'"
        )
        yield AssociationResource(unique, {**properties, "dataCollectionRuleId": parameter})
    if endpoint:
        body = association_request(_ANY, endpoint, endpoint=True)
        yield AssociationResource(name_in(body.path), body.body["properties"])
