"""Handles the requests for template deployments."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulator.arm.http.exchange import Answer, Exchange, Pages
from simulator.arm.http.targets import Kind
from simulator.arm.platform import Platform
from simulator.arm.surroundings import Surroundings
from simulator.arm.templates.deployments import Deployments, Put


class DeploymentRoutes:
    """`put` writes one resource of a deployment, like its own PUT."""

    def __init__(self, platform: Platform, surroundings: Surroundings, pages: Pages, put: Put) -> None:
        self._surroundings = surroundings
        self._pages = pages
        self._deployments = Deployments(platform, put)

    def by_kind(self) -> Mapping[Kind, Callable[[Exchange], Answer]]:
        return {
            Kind.DEPLOYMENT_VALIDATE: self._validate,
            Kind.DEPLOYMENT_PUT: self._put,
            Kind.DEPLOYMENT_GET: self._get,
            Kind.DEPLOYMENT_LIST: self._list,
            Kind.DEPLOYMENT_STATUS: self._get_status,
            Kind.DEPLOYMENT_OPERATIONS: self._list_operations,
        }

    def _validate(self, exchange: Exchange) -> Answer:
        name = exchange.target.names["deployment"]
        found = self._deployments.validate(self._scope(exchange), name, exchange.body, exchange.caller)
        body = found.body()
        members = {key: value for key, value in body["properties"].items() if key != "outputResources"}
        prefix = found.id.partition("/Microsoft.Resources/")[0]
        validated = [{"id": f"{prefix}/{resource.path}"} for resource in found.template.resources]
        properties = members | {"provisioningState": "Succeeded", "validatedResources": validated}
        return Answer(200, body | {"properties": properties})

    def _put(self, exchange: Exchange) -> Answer:
        name = exchange.target.names["deployment"]
        deployment = self._deployments.begin(self._scope(exchange), name, exchange.body, exchange.caller)
        status = f"{exchange.origin}{deployment.id}/operationStatuses/{deployment.operation}"
        url = f"{status}?api-version={exchange.query['api-version']}"
        return Answer(201, deployment.body(), {"Azure-AsyncOperation": url})

    def _get(self, exchange: Exchange) -> Answer:
        return Answer(200, self._deployments.find(exchange.path).body())

    def _list(self, exchange: Exchange) -> Answer:
        self._surroundings.find_group(exchange.target)
        page, link = self._pages.page(exchange, self._deployments.listed(exchange.path.partition("/providers/")[0]))
        return Answer(200, {"value": [each.body() for each in page]} | ({"nextLink": link} if link else {}))

    def _get_status(self, exchange: Exchange) -> Answer:
        return Answer(200, self._deployments.find(exchange.path.partition("/operationStatuses/")[0]).status())

    def _list_operations(self, exchange: Exchange) -> Answer:
        scope, name = exchange.path.partition("/deployments/")[0], exchange.target.names["deployment"]
        prefix = scope.removesuffix("/providers/Microsoft.Resources")  # the path has it or not, as in ARM
        deployment = self._deployments.find(f"{prefix}/providers/Microsoft.Resources/deployments/{name}")
        return Answer(200, {"value": deployment.operations()})

    def _scope(self, exchange: Exchange) -> tuple[str, str, str]:
        return (exchange.target.subscription, *self._surroundings.find_group(exchange.target))
