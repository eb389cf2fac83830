"""The resources around a VM: subscription, resource groups, the provider's registration, images; only the parts that
clients read."""

from __future__ import annotations

from typing import Any

from simulator.arm.compute.machines import Machines
from simulator.arm.http import errors
from simulator.arm.http.targets import Target
from simulator.arm.options import Options
from simulator.arm.scopes import Scopes

_COMPUTE = "microsoft.compute"


class Surroundings:
    def __init__(self, machines: Machines, scopes: Scopes, options: Options) -> None:
        self._machines = machines
        self._scopes = scopes
        self._tenant = options.tenant_id
        self.images: dict[str, dict[str, Any]] = {}
        self._described: dict[str, dict[str, Any]] = {}

    def describe(self, scope: str, properties: dict[str, Any]) -> None:
        """Set further properties in the GET of a subscription or group: tags, displayName, managedBy.

        ARM leaves out properties that were never set.
        """
        self._described[scope.lower()] = {**self._described.get(scope.lower(), {}), **properties}

    def get_subscription(self, target: Target) -> dict[str, Any]:
        return self._subscription(target.subscription)

    def list_subscriptions(self, principal: str) -> list[dict[str, Any]]:
        """The subscriptions that the principal has a role in."""
        seen = (each for each in self._machines.subscriptions if self._scopes.may_see(principal, each))
        return [self._subscription(subscription) for subscription in seen]

    def _subscription(self, subscription: str) -> dict[str, Any]:
        return {
            "id": f"/subscriptions/{subscription}",
            "subscriptionId": subscription,
            "tenantId": self._tenant,
            "displayName": "Simulated subscription",
            "authorizationSource": "RoleBased",
            "managedByTenants": [],
            "state": "Disabled" if subscription.lower() in self._scopes.disabled else "Enabled",
            **self._described.get(f"/subscriptions/{subscription}".lower(), {}),
        }

    def list_groups(self, subscription: str) -> list[dict[str, Any]]:
        """All groups of a subscription, in the order of their names."""
        return [self._group(subscription, *group) for group in self._machines.groups(subscription)]

    def get_group(self, target: Target) -> dict[str, Any]:
        return self._group(target.subscription, *self.find_group(target))

    def _group(self, subscription: str, name: str, location: str) -> dict[str, Any]:
        id_ = f"/subscriptions/{subscription}/resourceGroups/{name}"
        return {
            "id": id_,
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": location,
            **self._described.get(id_.lower(), {}),
            "properties": {"provisioningState": "Succeeded"},
        }

    def put_group(self, target: Target, body: dict[str, Any]) -> bool:
        """Create a group unless it exists; returns whether it is new."""
        if not body.get("location"):
            raise errors.location_required()
        new = self._machines.find_group(target.subscription, target.names["group"]) is None
        self._machines.add_group(target.subscription, target.names["group"], str(body["location"]))
        scope = f"/subscriptions/{target.subscription}/resourceGroups/{target.names['group']}".lower()
        self._described[scope] = {key: body[key] for key in ("tags", "managedBy") if body.get(key) is not None}
        return new

    def find_group(self, target: Target) -> tuple[str, str]:
        """A group's stored name and location; raises ARM's 404 if the group does not exist."""
        found = self._machines.find_group(target.subscription, target.names["group"])
        if found is None:
            raise errors.group_not_found(target.names["group"])
        return found

    def register(self, subscription: str, namespace: str) -> None:
        """Register a provider, which takes effect at once."""
        if namespace.lower() == _COMPUTE:
            self._scopes.unregistered.discard(subscription.lower())

    def is_registered(self, subscription: str, namespace: str) -> bool:
        """Whether a subscription may use a provider; only compute can be unregistered here."""
        return namespace.lower() != _COMPUTE or subscription.lower() not in self._scopes.unregistered

    def get_image(self, target: Target, path: str) -> dict[str, Any]:
        """A managed image or a gallery image definition."""
        body = self.images.get(path.lower())
        if body is None:
            raise errors.resource_not_found(path.partition("/providers/")[2], target.names["group"])
        return body
