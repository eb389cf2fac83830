"""Handles each kind of checked request by calling the parts that hold the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simulator.arm.compute.extensions import Extensions
from simulator.arm.compute.guests import guest_of
from simulator.arm.compute.lifecycle import Lifecycle
from simulator.arm.compute.machines import Machine
from simulator.arm.compute.operations import Operation
from simulator.arm.compute.run_commands import RunCommands
from simulator.arm.compute.spec import VmSpec
from simulator.arm.events import Caller
from simulator.arm.graph import Graph
from simulator.arm.http import errors, views
from simulator.arm.http.errors import ArmError
from simulator.arm.http.exchange import Answer, Exchange, Pages
from simulator.arm.http.targets import Kind, Target, missing_vm, read_target
from simulator.arm.http.validation import check_extension, check_vm
from simulator.arm.http.versions import has_etag
from simulator.arm.insights.insights import Insights
from simulator.arm.insights.insights_routes import InsightsRoutes
from simulator.arm.platform import Platform
from simulator.arm.resources.resource_routes import ResourceRoutes
from simulator.arm.scopes import Scopes
from simulator.arm.surroundings import Surroundings
from simulator.arm.templates.deployment_routes import DeploymentRoutes


class Routes:
    def __init__(
        self,
        platform: Platform,
        lifecycle: Lifecycle,
        extensions: Extensions,
        surroundings: Surroundings,
        insights: Insights,
        graph: Graph,
        scopes: Scopes,
    ) -> None:
        self._platform = platform
        self._lifecycle = lifecycle
        self._extensions = extensions
        self._surroundings = surroundings
        self._graph = graph
        self._insights = insights
        self._scopes = scopes
        self._run_commands = RunCommands(platform)
        self._pages = Pages(platform.options.page_size)
        self._routes: dict[Kind, Callable[[Exchange], Answer]] = {
            Kind.VM_GET: self._get_vm,
            Kind.VM_INSTANCE_VIEW: self._get_instance_view,
            Kind.VM_LIST: self._list_vms,
            Kind.VM_LIST_GROUP: self._list_vms,
            Kind.VM_PUT: self._put_vm,
            Kind.VM_PATCH: self._patch_vm,
            Kind.VM_DELETE: self._delete_vm,
            Kind.VM_START: self._power,
            Kind.VM_RESTART: self._power,
            Kind.VM_POWER_OFF: self._power,
            Kind.VM_DEALLOCATE: self._power,
            Kind.VM_RUN_COMMAND: self._run_command,
            Kind.EXTENSION_GET: self._get_extension,
            Kind.EXTENSION_LIST: self._list_extensions,
            Kind.EXTENSION_PUT: self._put_extension,
            Kind.EXTENSION_PATCH: self._patch_extension,
            Kind.EXTENSION_DELETE: self._delete_extension,
            Kind.OPERATION_POLL: self._poll,
            Kind.IMAGE_GET: self._get_image,
            Kind.GALLERY_IMAGE_GET: self._get_image,
            Kind.GRAPH_QUERY: self._query_graph,
            Kind.IDENTITY_GET: self._get_identity,
            **DeploymentRoutes(platform, surroundings, self._pages, self._put_resource).by_kind(),
            **ResourceRoutes(platform, surroundings, scopes, insights, self._pages).by_kind(),
            **InsightsRoutes(insights, surroundings, self._pages, self._machine).by_kind(),
        }

    def answer(self, exchange: Exchange) -> Answer:
        return self._routes[exchange.target.kind](exchange)

    def _get_vm(self, exchange: Exchange) -> Answer:
        machine = self._machine(exchange.target)
        return Answer(200, self._vm_body(exchange, machine))

    def _vm_body(self, exchange: Exchange, machine: Machine) -> dict[str, Any]:
        body = views.vm_body(machine, self._platform.clock, expanded=exchange.expanded)
        return body | ({"etag": machine.etag_text} if has_etag(exchange.query["api-version"]) else {})

    def _get_instance_view(self, exchange: Exchange) -> Answer:
        return Answer(200, views.instance_view(self._machine(exchange.target), self._platform.clock))

    def _put_vm(self, exchange: Exchange) -> Answer:
        target = exchange.target
        machine, operation, new = self._write_vm(target, exchange.body, exchange.caller, exchange.if_match)
        return self._accepted(exchange, 201 if new else 200, operation, self._vm_body(exchange, machine))

    def _write_vm(
        self, target: Target, raw: Mapping[str, Any], caller: Caller, if_match: str = ""
    ) -> tuple[Machine, Operation, bool]:
        """Create or update a VM; the last value is whether it is new."""
        stored = self._platform.machines.find(target.vm_id)
        body = check_vm(raw, stored)
        if stored is not None:
            return stored, self._lifecycle.update(stored, body, caller, if_match), False
        self._surroundings.find_group(target)
        spec = VmSpec(
            name=target.names["vm"],
            group=target.names["group"],
            subscription=target.subscription,
            guest=guest_of(body),
        )
        return (*self._lifecycle.create(spec, body, caller), True)

    def _patch_vm(self, exchange: Exchange) -> Answer:
        machine = self._machine(exchange.target)
        change = check_vm(exchange.body, machine)
        operation = self._lifecycle.update(machine, change, exchange.caller, exchange.if_match)
        return self._accepted(exchange, 200, operation, self._vm_body(exchange, machine))

    def _delete_vm(self, exchange: Exchange) -> Answer:
        machine = self._platform.machines.find(exchange.target.vm_id)
        if machine is None:
            return Answer(204)
        return self._accepted(exchange, 202, self._lifecycle.delete(machine, exchange.caller))

    def _power(self, exchange: Exchange) -> Answer:
        machine = self._machine(exchange.target)
        action = {Kind.VM_POWER_OFF: "powerOff"}.get(exchange.target.kind, exchange.target.kind.removeprefix("vm-"))
        return self._accepted(exchange, 202, self._lifecycle.power(machine, action, exchange.caller))

    def _run_command(self, exchange: Exchange) -> Answer:
        machine = self._machine(exchange.target)
        return self._accepted(exchange, 202, self._run_commands.run(machine, exchange.body, exchange.caller))

    def _list_vms(self, exchange: Exchange) -> Answer:
        target, machines, clock = exchange.target, self._platform.machines, self._platform.clock
        group = target.names.get("group")
        if group is not None:
            self._surroundings.find_group(target)
        page, link = self._pages.page(exchange, machines.listed(target.subscription, group))
        items = [views.vm_list_item(machine, clock, whole_subscription=group is None) for machine in page]
        if group is None and exchange.query.get("statusOnly", "").lower() == "true":
            for item, machine in zip(items, page, strict=True):
                item["properties"]["instanceView"] = views.instance_view(machine, clock)
        return Answer(200, {"value": items} | ({"nextLink": link} if link else {}))

    def _get_extension(self, exchange: Exchange) -> Answer:
        machine = self._machine(exchange.target)
        extension = self._extensions.existing(machine, exchange.target.names["extension"])
        return Answer(200, views.extension_body(machine, extension, expanded=exchange.expanded))

    def _list_extensions(self, exchange: Exchange) -> Answer:
        machine = self._machine(exchange.target)
        found = machine.extensions.values()
        return Answer(200, {"value": [views.extension_body(machine, e, expanded=exchange.expanded) for e in found]})

    def _put_extension(self, exchange: Exchange) -> Answer:
        machine, name = self._machine(exchange.target), exchange.target.names["extension"]
        check_extension(exchange.body, machine, name)
        extension, operation, new = self._extensions.put(machine, name, exchange.body, exchange.caller)
        return self._accepted(exchange, 201 if new else 200, operation, views.extension_body(machine, extension))

    def _patch_extension(self, exchange: Exchange) -> Answer:
        machine, name = self._machine(exchange.target), exchange.target.names["extension"]
        check_extension(exchange.body, machine, name, patch=True)
        extension, operation = self._extensions.patch(machine, name, exchange.body, exchange.caller)
        return self._accepted(exchange, 200, operation, views.extension_body(machine, extension))

    def _delete_extension(self, exchange: Exchange) -> Answer:
        machine = self._machine(exchange.target)
        operation = self._extensions.delete(machine, exchange.target.names["extension"], exchange.caller)
        return Answer(204) if operation is None else self._accepted(exchange, 202, operation)

    def _poll(self, exchange: Exchange) -> Answer:
        try:
            operation = self._platform.operations.find(exchange.target.names["operation"], exchange.raw_query)
        except ValueError:
            message = "The operation URL was altered."  # invented: no source has ARM's words
            raise ArmError(403, "InvalidOperationUrl", message) from None
        if operation is None:
            raise errors.entity_not_found()
        if exchange.query.get("monitor") == "true":
            return Answer(202 if operation.running else 200, operation.result, self._wait(operation))
        return Answer(200, operation.body(), self._wait(operation))

    def _wait(self, operation: Operation) -> dict[str, str]:
        if operation.retry_after is None or not operation.running:
            return {}
        return {"Retry-After": str(max(1, round(self._platform.clock.real(operation.retry_after))))}

    def _get_image(self, exchange: Exchange) -> Answer:
        return Answer(200, self._surroundings.get_image(exchange.target, exchange.path))

    def _put_resource(self, resource_id: str, body: Mapping[str, Any], caller: Caller) -> Operation | None:
        """Put a resource of a deployment, like its own PUT, with its rights and refusals; an association is there at
        once."""
        target = read_target("PUT", resource_id)
        self._scopes.check(target, "PUT", caller.principal, body)
        if target.kind is Kind.VM_PUT:
            return self._write_vm(target, body, caller)[1]
        machine = self._machine(target)
        if target.kind is Kind.ASSOCIATION_PUT:
            self._insights.associations.put(machine, target.names["association"], dict(body), caller)
            return None
        name = target.names["extension"]
        check_extension(body, machine, name)
        return self._extensions.put(machine, name, body, caller)[1]

    def _query_graph(self, exchange: Exchange) -> Answer:
        body, headers = self._graph.answer(exchange.body, exchange.caller.principal)
        return Answer(200, body, headers)

    def _get_identity(self, exchange: Exchange) -> Answer:
        identity = self._platform.identities.find(exchange.path)
        if identity is None:
            self._surroundings.find_group(exchange.target)
            path = exchange.path.partition("/providers/")[2]
            raise errors.resource_not_found(path, exchange.target.names["group"])
        return Answer(200, self._platform.identities.body(identity))

    def _machine(self, target: Target) -> Machine:
        machine = self._platform.machines.find(target.vm_id)
        if machine is not None:
            return machine
        self._surroundings.find_group(target)
        raise missing_vm(target)

    @staticmethod
    def _accepted(exchange: Exchange, status: int, operation: Operation, body: Any = None) -> Answer:
        """The answer to an accepted write. Only answers without a body have a Location, and none has a Retry-After."""
        url = exchange.origin + operation.url
        headers = {"Azure-AsyncOperation": url, "Azure-AsyncNotification": "Enabled", "x-ms-request-id": operation.id}
        return Answer(status, body, headers | ({"Location": f"{url}&monitor=true"} if body is None else {}))
