"""Handles the requests for associations, and for the rules and endpoints that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulator.arm.compute.machines import Machine
from simulator.arm.http import errors
from simulator.arm.http.exchange import Answer, Exchange, Pages
from simulator.arm.http.targets import Kind, Target
from simulator.arm.insights.associations import Association
from simulator.arm.insights.insights import Insights
from simulator.arm.insights.rules import CollectionResource
from simulator.arm.surroundings import Surroundings


class InsightsRoutes:
    """`find_machine` finds the machine of a request, or raises ARM's error."""

    def __init__(
        self,
        insights: Insights,
        surroundings: Surroundings,
        pages: Pages,
        find_machine: Callable[[Target], Machine],
    ) -> None:
        self._insights = insights
        self._surroundings = surroundings
        self._pages = pages
        self._machine = find_machine

    def by_kind(self) -> Mapping[Kind, Callable[[Exchange], Answer]]:
        return {
            Kind.ASSOCIATION_GET: self._get_association,
            Kind.ASSOCIATION_PUT: self._put_association,
            Kind.ASSOCIATION_DELETE: self._delete_association,
            Kind.ASSOCIATION_LIST: self._list_associations,
            Kind.RULE_GET: self._get_collection_resource,
            Kind.RULE_ASSOCIATIONS: self._list_of_collection_resource,
            Kind.ENDPOINT_GET: self._get_collection_resource,
            Kind.ENDPOINT_ASSOCIATIONS: self._list_of_collection_resource,
        }

    def _get_association(self, exchange: Exchange) -> Answer:
        machine, name = self._machine(exchange.target), exchange.target.names["association"]
        return Answer(200, self._insights.associations.get(machine, name).body())

    def _put_association(self, exchange: Exchange) -> Answer:
        machine, name = self._machine(exchange.target), exchange.target.names["association"]
        association, new = self._insights.associations.put(machine, name, exchange.body, exchange.caller)
        return Answer(201 if new else 200, association.body())

    def _delete_association(self, exchange: Exchange) -> Answer:
        machine, name = self._machine(exchange.target), exchange.target.names["association"]
        return Answer(200 if self._insights.associations.delete(machine, name, exchange.caller) else 204)

    def _list_associations(self, exchange: Exchange) -> Answer:
        return self._associations(exchange, self._insights.associations.of_machine(self._machine(exchange.target)))

    def _get_collection_resource(self, exchange: Exchange) -> Answer:
        return Answer(200, self._collection_resource(exchange).body())

    def _list_of_collection_resource(self, exchange: Exchange) -> Answer:
        resource = self._collection_resource(exchange)
        return self._associations(exchange, self._insights.associations.of_resource(resource))

    def _associations(self, exchange: Exchange, found: Sequence[Association]) -> Answer:
        page, link = self._pages.page(exchange, found)
        return Answer(200, {"value": [each.body() for each in page]} | ({"nextLink": link} if link else {}))

    def _collection_resource(self, exchange: Exchange) -> CollectionResource:
        path = exchange.path.removesuffix("/associations")
        resource = self._insights.resources.find(path)
        if resource is None:
            self._surroundings.find_group(exchange.target)
            raise errors.resource_not_found(path.partition("/providers/")[2], exchange.target.names["group"])
        return resource
