"""Associations of machines with data collection rules and endpoints. Their writes end at once, as Azure Monitor's do.

They are proxy resources at the machine's scope: they need neither an agent nor an identity, and go with the machine.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.arm.compute.machines import Machine
from simulator.arm.events import Caller, Change
from simulator.arm.http import errors
from simulator.arm.insights import refusals
from simulator.arm.insights.rules import CollectionResource, CollectionResources
from simulator.arm.platform import Platform

ASSOCIATIONS = "Microsoft.Insights/dataCollectionRuleAssociations"
ENDPOINT_NAME = "configurationAccessEndpoint"
RULE, ENDPOINT = "dataCollectionRuleId", "dataCollectionEndpointId"
_KNOWN = {RULE, ENDPOINT, "description", "provisioningState", "metadata"}


@dataclass(slots=True, eq=False)
class Association:
    """One association; `link` is the property with the id, `linked` the id as it was sent."""

    machine: Machine
    name: str
    link: str
    linked: str
    created: datetime
    changed: datetime
    created_by: str
    changed_by: str
    etag: str = field(default_factory=lambda: f'"{uuid.uuid4()}"')

    @property
    def id(self) -> str:
        return f"{self.machine.id}/providers/{ASSOCIATIONS}/{self.name}"

    @property
    def key(self) -> str:
        return self.id.lower()

    def body(self) -> dict[str, Any]:
        """The resource. Its description is not in answers, as users found."""
        return {
            "id": self.id,
            "name": self.name,
            "type": ASSOCIATIONS,
            "etag": self.etag,
            "properties": {self.link: self.linked, "provisioningState": "Succeeded"},
            "systemData": {
                "createdBy": self.created_by,
                "createdByType": "Application",
                "createdAt": self.created.isoformat(),
                "lastModifiedBy": self.changed_by,
                "lastModifiedByType": "Application",
                "lastModifiedAt": self.changed.isoformat(),
            },
        }


class Associations:
    def __init__(self, platform: Platform, resources: CollectionResources) -> None:
        self._platform = platform
        self._resources = resources
        self._associations: dict[str, Association] = {}
        self._of_machine: dict[str, dict[str, Association]] = {}

    def put(self, machine: Machine, name: str, body: Mapping[str, Any], caller: Caller) -> tuple[Association, bool]:
        """Create or replace an association; the last value is whether it is new. Raises ARM's refusal."""
        link, linked = _link(body.get("properties", {}), name)
        if machine.deleting:
            raise errors.vm_marked_for_deletion("Update VM", machine.name)
        self._check_linked(link, linked, f"{machine.id}/providers/{ASSOCIATIONS}/{name}", caller)
        now = self._platform.clock.now()
        stored = self._find(machine, name)
        if stored is None:
            new = Association(machine, name, link, linked, now, now, caller.principal, caller.principal)
            of_machine = self._of_machine.setdefault(machine.key, {})
            self._associations[new.key] = of_machine[new.key] = new
            self._raise_event(new, "write", "Write", caller)
            return new, True
        stored.link, stored.linked, stored.etag = link, linked, f'"{uuid.uuid4()}"'
        stored.changed, stored.changed_by = now, caller.principal
        self._raise_event(stored, "write", "Write", caller, update=True)
        return stored, False

    def get(self, machine: Machine, name: str) -> Association:
        found = self._find(machine, name)
        if found is None:
            raise refusals.association_not_found(name, machine.group, machine.name)
        return found

    def delete(self, machine: Machine, name: str, caller: Caller) -> bool:
        """Returns whether there was one."""
        found = self._find(machine, name)
        if found is not None:
            self._drop(found)
            self._raise_event(found, "delete", "Delete", caller, update=True)
        return found is not None

    def all(self) -> list[Association]:
        """The associations of the machines that exist, in a stable order."""
        known = self._platform.machines
        alive = (each for each in self._associations.values() if known.find(each.machine.id) is each.machine)
        return sorted(alive, key=lambda association: association.key)

    def of_machine(self, machine: Machine) -> list[Association]:
        found = self._of_machine.get(machine.key, {}).values()
        return sorted((each for each in found if each.machine is machine), key=lambda association: association.key)

    def of_resource(self, resource: CollectionResource) -> list[Association]:
        return [each for each in self.all() if each.linked.lower() == resource.key]

    def forget(self, resource_id: str, caller: Caller) -> None:
        """Drop the associations with a rule or endpoint, which somebody deletes; that raises no event."""
        for each in self.all():
            if each.linked.lower() == resource_id.lower():
                self._drop(each)
                self._platform.note(_change(each, "delete", "Delete", caller))

    def _find(self, machine: Machine, name: str) -> Association | None:
        """The machine's own association of that name; one of a deleted machine with the same id is not."""
        found = self._associations.get(_key(machine, name))
        return found if found is not None and found.machine is machine else None

    def _drop(self, association: Association) -> None:
        del self._associations[association.key]
        del self._of_machine[association.machine.key][association.key]

    def rules_of(self, machine: Machine) -> list[CollectionResource]:
        """The rules that exist and that the machine is associated with."""
        found = (self._resources.find(each.linked) for each in self.of_machine(machine))
        return [resource for resource in found if resource is not None and resource.is_rule]

    def _check_linked(self, link: str, linked: str, scope: str, caller: Caller) -> None:
        parts = linked.split("/")
        if len(parts) != 9 or parts[1].lower() != "subscriptions":
            raise refusals.invalid_link(f"properties.{link}", linked)
        if not self._platform.machines.knows(parts[2]):
            tenant = self._platform.options.tenant_id
            raise refusals.foreign_subscription(caller.principal, f"{ASSOCIATIONS}/write", scope, tenant, parts[2])
        resource, kind = self._resources.find(linked), "rule" if link == RULE else "endpoint"
        if resource is None or resource.is_rule is not (link == RULE):
            raise refusals.link_not_found(kind, linked)

    def _raise_event(
        self, association: Association, operation: str, verb: str, caller: Caller, *, update: bool = False
    ) -> None:
        change = _change(association, operation, verb, caller, update=update)
        self._platform.note(change)
        if self._platform.options.association_events:
            self._platform.events.raise_for(change)


def _change(association: Association, operation: str, verb: str, caller: Caller, *, update: bool = False) -> Change:
    return Change(association.id, f"{ASSOCIATIONS}/{operation}", caller, verb=verb, update=update)


def _key(machine: Machine, name: str) -> str:
    return f"{machine.id}/providers/{ASSOCIATIONS}/{name}".lower()


def _link(properties: Mapping[str, Any], name: str) -> tuple[str, str]:
    """The property with the id, and the id."""
    for member in properties:
        if member not in _KNOWN:
            raise errors.unknown_member(member, "DataCollectionRuleAssociationProxyOnlyResourceProperties")
    rule, endpoint = properties.get(RULE), properties.get(ENDPOINT)
    named_for_endpoint = name.lower() == ENDPOINT_NAME.lower()
    if not rule and not endpoint:
        raise refusals.nothing_to_associate()
    if rule and endpoint:
        raise refusals.rule_beside_endpoint()
    if endpoint and not named_for_endpoint:
        raise refusals.endpoint_name()
    if rule and named_for_endpoint:
        raise refusals.rule_under_endpoint_name()
    return (RULE, str(rule)) if rule else (ENDPOINT, str(endpoint))
