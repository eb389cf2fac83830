"""Handles the requests for ARM's own lists, and for the network interfaces of VMs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simulator.arm.http.errors import ArmError, resource_not_found
from simulator.arm.http.exchange import Answer, Exchange, Pages
from simulator.arm.http.targets import Kind
from simulator.arm.insights.insights import Insights
from simulator.arm.network.interfaces import find_interface, listed_interfaces
from simulator.arm.platform import Platform
from simulator.arm.resources.extension_images import ExtensionImages
from simulator.arm.resources.list_filter import fits, read_filter
from simulator.arm.resources.providers import namespaces, provider_body
from simulator.arm.resources.regions import REGIONS
from simulator.arm.resources.resource_list import resources_of
from simulator.arm.scopes import Scopes
from simulator.arm.surroundings import Surroundings


class ResourceRoutes:
    def __init__(
        self, platform: Platform, surroundings: Surroundings, scopes: Scopes, insights: Insights, pages: Pages
    ) -> None:
        self._platform = platform
        self._surroundings = surroundings
        self._scopes = scopes
        self._insights = insights
        self._pages = pages
        self._images = ExtensionImages(platform.artifacts)

    def by_kind(self) -> Mapping[Kind, Callable[[Exchange], Answer]]:
        return {
            Kind.TENANT_LIST: self._list_tenants,
            Kind.SUBSCRIPTION_GET: self._get_subscription,
            Kind.SUBSCRIPTION_LIST: self._list_subscriptions,
            Kind.LOCATION_LIST: self._list_locations,
            Kind.PROVIDER_LIST: self._list_providers,
            Kind.PROVIDER_GET: self._get_provider,
            Kind.PROVIDER_REGISTER: self._get_provider,
            Kind.GROUP_LIST: self._list_groups,
            Kind.GROUP_GET: self._get_group,
            Kind.GROUP_PUT: self._put_group,
            Kind.RESOURCE_LIST: self._list_resources,
            Kind.IMAGE_PUBLISHERS: self._list_publishers,
            Kind.EXTENSION_TYPES: self._list_extension_types,
            Kind.EXTENSION_VERSIONS: self._list_extension_versions,
            Kind.INTERFACE_LIST: self._list_interfaces,
            Kind.INTERFACE_GET: self._get_interface,
            Kind.PUBLIC_ADDRESS_LIST: self._list_public_addresses,
            Kind.PUBLIC_ADDRESS_GET: self._get_public_address,
        }

    def _list_tenants(self, exchange: Exchange) -> Answer:
        tenant = self._platform.options.tenant_id
        body = {
            "id": f"/tenants/{tenant}",
            "tenantId": tenant,
            "tenantCategory": "Home",
            "displayName": "Simulated tenant",
            "defaultDomain": "contoso.example",
            "domains": ["contoso.example"],
            "tenantType": "AAD",
        }
        return Answer(200, {"value": [body]})

    def _get_subscription(self, exchange: Exchange) -> Answer:
        return Answer(200, self._surroundings.get_subscription(exchange.target))

    def _list_subscriptions(self, exchange: Exchange) -> Answer:
        found = self._surroundings.list_subscriptions(exchange.caller.principal)
        return Answer(200, {"value": found, "count": {"type": "Total", "value": len(found)}})

    def _list_locations(self, exchange: Exchange) -> Answer:
        return Answer(200, {"value": [region.body(exchange.target.subscription) for region in REGIONS]})

    def _list_providers(self, exchange: Exchange) -> Answer:
        return Answer(200, {"value": [self._provider(exchange, namespace) for namespace in namespaces()]})

    def _get_provider(self, exchange: Exchange) -> Answer:
        namespace = exchange.target.names["provider"]
        if exchange.target.kind is Kind.PROVIDER_REGISTER:
            self._surroundings.register(exchange.target.subscription, namespace)
        return Answer(200, self._provider(exchange, namespace))

    def _provider(self, exchange: Exchange, namespace: str) -> dict[str, Any]:
        subscription = exchange.target.subscription
        registered = self._surroundings.is_registered(subscription, namespace)
        return provider_body(subscription, namespace, registered=registered)

    def _list_groups(self, exchange: Exchange) -> Answer:
        wanted, principal = read_filter(exchange.query.get("$filter", "")), exchange.caller.principal
        found = self._surroundings.list_groups(exchange.target.subscription)
        type_ = "Microsoft.Resources/subscriptions/resourceGroups"
        value = [body for body in found if self._scopes.may_read(principal, str(body["id"]), type_)]
        return Answer(200, {"value": [body for body in value if fits(body, wanted)]})

    def _get_group(self, exchange: Exchange) -> Answer:
        body = self._surroundings.get_group(exchange.target)
        return Answer(204) if exchange.caller.method == "HEAD" else Answer(200, body)

    def _put_group(self, exchange: Exchange) -> Answer:
        new = self._surroundings.put_group(exchange.target, exchange.body)
        return Answer(201 if new else 200, self._surroundings.get_group(exchange.target))

    def _list_resources(self, exchange: Exchange) -> Answer:
        target, principal = exchange.target, exchange.caller.principal
        group = target.names.get("group", "")
        if group:
            self._surroundings.find_group(target)
        wanted = read_filter(exchange.query.get("$filter", ""))
        found = resources_of(self._platform, self._insights, target.subscription, group)
        value = [
            resource
            for resource in found
            if fits(resource.body, wanted)
            and self._scopes.may_read(principal, resource.key, str(resource.body["type"]))
        ]
        page, link = self._pages.page(exchange, value)
        items = [resource.item(exchange.query.get("$expand", "")) for resource in page]
        return Answer(200, {"value": items} | ({"nextLink": link} if link else {}))

    def _list_publishers(self, exchange: Exchange) -> Answer:
        target = exchange.target
        return Answer(200, self._images.publishers(target.subscription, target.names["region"]))

    def _list_extension_types(self, exchange: Exchange) -> Answer:
        target, names = exchange.target, exchange.target.names
        return Answer(200, self._images.types(target.subscription, names["region"], names["publisher"]))

    def _list_extension_versions(self, exchange: Exchange) -> Answer:
        target, names = exchange.target, exchange.target.names
        found = self._images.versions(target.subscription, names["region"], names["publisher"], names["type"])
        return Answer(200, found)

    def _list_interfaces(self, exchange: Exchange) -> Answer:
        scope = f"/subscriptions/{exchange.target.subscription}"
        if group := exchange.target.names.get("group"):
            self._surroundings.find_group(exchange.target)
            scope += f"/resourceGroups/{group}"
        page, link = self._pages.page(exchange, listed_interfaces(self._platform.machines, scope))
        return Answer(200, {"value": [each.body() for each in page]} | ({"nextLink": link} if link else {}))

    def _get_interface(self, exchange: Exchange) -> Answer:
        found = find_interface(self._platform.machines, exchange.path)
        if found is None:
            raise self._missing(exchange)
        return Answer(200, found.body())

    def _list_public_addresses(self, exchange: Exchange) -> Answer:
        """The simulated VMs have none."""
        if "group" in exchange.target.names:
            self._surroundings.find_group(exchange.target)
        return Answer(200, {"value": []})

    def _get_public_address(self, exchange: Exchange) -> Answer:
        raise self._missing(exchange)

    def _missing(self, exchange: Exchange) -> ArmError:
        self._surroundings.find_group(exchange.target)
        return resource_not_found(exchange.path.partition("/providers/")[2], exchange.target.names["group"])
