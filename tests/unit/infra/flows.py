"""Which flow uses which address and which right, derived from what a profile deploys. A flow without an allowed path is
named with what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.unit.infra.deployed import Resource, assignments, of_type, one

BLOB_OWNER = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
BLOB_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
QUEUE_CONTRIBUTOR = "974c5e8b-45b9-4653-ba55-5f855dd0fb88"
QUEUE_SENDER = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a"
TABLE_CONTRIBUTOR = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
METRICS_PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
EVENT_SENDER = "d5a91429-5739-47e2-a06b-3470a27159e7"

# What the app does on storage: the service, the role, where.
STORAGE = (
    ("table", TABLE_CONTRIBUTOR, r"/storageAccounts/\w+"),
    ("queue", QUEUE_CONTRIBUTOR, r"/storageAccounts/\w+"),
    ("blob", BLOB_OWNER, "/containers/azure-webjobs-hosts"),
    ("blob", BLOB_OWNER, "/containers/azure-webjobs-secrets"),
)
# What the app asks besides, by the service tag of its addresses.
SERVICES = {
    "ARM and Resource Graph": "AzureResourceManager",
    "sign-in": "AzureActiveDirectory",
    "telemetry and heartbeats": "AzureMonitor",
}
ZONES = {
    "blob": "privatelink.blob.",  # the rest is the cloud's, and known at the deployment
    "queue": "privatelink.queue.",
    "table": "privatelink.table.",
    "vault": "privatelink.vaultcore.azure.net",
    "sites": "privatelink.azurewebsites.net",
    "topic": "privatelink.eventgrid.azure.net",
}


class Flows:
    """The flows of one installation: `main` has the app's resources, `subscription` those of an onboarded one."""

    def __init__(self, main: Sequence[Resource], subscription: Sequence[Resource]) -> None:
        self._main = main
        self._subscription = subscription
        self._site = one(main, "Microsoft.Web/sites")["properties"]
        self._storage = one(main, "Microsoft.Storage/storageAccounts")["properties"]
        self._settings = one(main, "Microsoft.Web/sites/config", "/appsettings")["properties"]
        self._rights = assignments(main) | assignments(subscription)

    def blocked(self) -> list[str]:
        """Each flow that has no allowed path, with what it lacks."""
        return sorted(
            f"{flow}: {lack}"
            for flow, lacks in (
                ("events to app", self._events()),
                ("undeliverable events to storage", self._dead_letters()),
                ("app to storage", self._app_to_storage()),
                ("app to vault", self._app_to_vault()),
                ("app to outcome topic", self._app_to_topic()),
                ("app to services", self._app_to_services()),
                ("app to virtual machines", self._app_to_machines()),
                ("package to app", self._package()),
                ("people to pages", self._people()),
            )
            for lack in lacks
        )

    def _events(self) -> Iterator[str]:
        for each in of_type(self._subscription, "Microsoft.EventGrid/systemTopics/eventSubscriptions"):
            properties = each["properties"]
            if properties["destination"] is not None:
                yield from self._delivered_to_public_site()
                continue
            delivery = properties["deliveryWithResourceIdentity"]
            queue = delivery["destination"]["properties"]["queueName"]
            yield from self._past_the_firewall(delivery["identity"])
            yield from self._right("topic", QUEUE_SENDER, f"/queues/{queue}")
            if self._settings.get("EVENTS_QUEUE") != queue:
                yield f"the app does not read the queue {queue}"
            if not [q for q in self._queues() if q == queue]:
                yield f"there is no queue {queue}"
            yield from self._right("id-app", BLOB_CONTRIBUTOR, "/containers/dead-letters")

    def _queues(self) -> list[str]:
        found = of_type(self._main, "Microsoft.Storage/storageAccounts/queueServices/queues")
        return [each["name"].rpartition("/")[2] for each in found]

    def _delivered_to_public_site(self) -> Iterator[str]:
        """Event Grid delivers to public addresses alone."""
        if self._site["publicNetworkAccess"] != "Enabled":
            yield "the app has no public address"
        config = self._site["siteConfig"]
        if config["ipSecurityRestrictionsDefaultAction"] == "Deny" and not [
            rule
            for rule in config["ipSecurityRestrictions"]
            if (rule.get("tag"), rule["ipAddress"], rule["action"]) == ("ServiceTag", "AzureEventGrid", "Allow")
        ]:
            yield "no rule lets Event Grid in"

    def _dead_letters(self) -> Iterator[str]:
        for each in of_type(self._subscription, "Microsoft.EventGrid/systemTopics/eventSubscriptions"):
            identity = each["properties"]["deadLetterWithResourceIdentity"]["identity"]
            who = "topic" if identity["type"] == "SystemAssigned" else "id-events"
            yield from self._right(who, BLOB_CONTRIBUTOR, "/containers/dead-letters")
            yield from self._past_the_firewall(identity)

    def _past_the_firewall(self, identity: dict[str, Any]) -> Iterator[str]:
        """Event Grid is a trusted service, with the topic's own identity alone."""
        if self._open(self._storage):
            return
        if identity["type"] != "SystemAssigned":
            yield "behind a firewall only the topic's own identity may write"
        if self._storage["networkAcls"]["bypass"] != "AzureServices":
            yield "the firewall does not trust Azure's services"

    def _app_to_storage(self) -> Iterator[str]:
        # It counts the dead letters; where events come by a queue, the right to store some includes that.
        counting = BLOB_CONTRIBUTOR if "EVENTS_QUEUE" in self._settings else BLOB_READER
        for service, role, where in (*STORAGE, ("blob", counting, "/containers/dead-letters")):
            yield from self._right("id-app", role, where)
            if not self._open(self._storage):
                yield from self._private(service)

    def _app_to_vault(self) -> Iterator[str]:
        if not [value for value in self._settings.values() if "@Microsoft.KeyVault" in value]:
            return
        yield from self._right("id-app", SECRETS_USER, r"/vaults/[\w-]+")
        if not self._open(one(self._main, "Microsoft.KeyVault/vaults")["properties"]):
            yield from self._private("vault")

    def _app_to_topic(self) -> Iterator[str]:
        if "OUTCOME_TOPIC_ENDPOINT" not in self._settings:
            return
        yield from self._right("id-app", EVENT_SENDER, r"/topics/[\w-]+")
        if not self._open(one(self._main, "Microsoft.EventGrid/topics")["properties"]):
            yield from self._private("topic")

    def _app_to_services(self) -> Iterator[str]:
        yield from self._right("id-app", METRICS_PUBLISHER, r"/components/[\w-]+")
        if not self._site["virtualNetworkSubnetId"]:
            return
        for group in of_type(self._main, "Microsoft.Network/networkSecurityGroups"):
            rules = sorted(
                (each["properties"] for each in group["properties"]["securityRules"]), key=lambda rule: rule["priority"]
            )
            for service, tag in SERVICES.items():
                first = next((r for r in rules if r["destinationAddressPrefix"] in (tag, "Internet")), None)
                if first is not None and first["access"] == "Deny":
                    yield f"no rule lets it reach {service}"

    def _app_to_machines(self) -> Iterator[str]:
        granted = {
            action
            for each in of_type(self._subscription, "Microsoft.Authorization/roleDefinitions")
            for permission in each["properties"]["permissions"]
            for action in permission["actions"]
            if self._assigned(each["id"])
        }
        for action in ("virtualMachines/read", "virtualMachines/extensions/write"):
            if f"Microsoft.Compute/{action}" not in granted:
                yield f"no role allows Microsoft.Compute/{action}"

    def _assigned(self, role: str) -> bool:
        return any(right == role.rpartition("/")[2] for who, right, _ in self._rights if who == "id-app")

    def _package(self) -> Iterator[str]:
        yield from self._right("id-package", BLOB_CONTRIBUTOR, "/containers/packages")
        if not self._open(self._storage):
            yield from self._private("blob")

    def _people(self) -> Iterator[str]:
        if self._site["publicNetworkAccess"] != "Enabled":
            yield from self._private("sites")
            return
        config = self._site["siteConfig"]
        if config["ipSecurityRestrictionsDefaultAction"] == "Deny" and not [
            rule for rule in config["ipSecurityRestrictions"] if rule["name"].startswith("people-")
        ]:
            yield "no rule lets people in"

    def _right(self, who: str, role: str, where: str) -> Iterator[str]:
        if not [
            1 for holder, right, at in self._rights if (holder, right) == (who, role) and re.search(f"{where}$", at)
        ]:
            yield f"{who} has no role {role} on {where}"

    def _private(self, service: str) -> Iterator[str]:
        """A private endpoint in the app's network, the zone of its name, and the link between the two."""
        subnet = self._site["virtualNetworkSubnetId"]
        endpoints = [
            each
            for each in of_type(self._main, "Microsoft.Network/privateEndpoints")
            for connection in each["properties"]["privateLinkServiceConnections"]
            if connection["properties"]["groupIds"] == [service]
        ]
        if not endpoints:
            yield f"there is no private endpoint for {service}"
            return
        if not subnet or endpoints[0]["properties"]["subnet"]["id"].rpartition("/")[0] != subnet.rpartition("/")[0]:
            yield f"the private endpoint for {service} is in another network than the app"
        named = [
            config["properties"]["privateDnsZoneId"]
            for group in of_type(self._main, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
            if group["name"].startswith(f"{endpoints[0]['name']}/")
            for config in group["properties"]["privateDnsZoneConfigs"]
        ]
        linked = [each["name"] for each in of_type(self._main, "Microsoft.Network/privateDnsZones/virtualNetworkLinks")]
        if not any(ZONES[service] in zone for zone in named):
            yield f"the private endpoint for {service} has no name in {ZONES[service]}"
        elif not any(ZONES[service] in zone for zone in linked):
            yield f"the network does not ask {ZONES[service]}"

    @staticmethod
    def _open(properties: dict[str, Any]) -> bool:
        acls = properties.get("networkAcls", {"defaultAction": "Allow"})
        return bool(properties["publicNetworkAccess"] == "Enabled" and acls["defaultAction"] == "Allow")
