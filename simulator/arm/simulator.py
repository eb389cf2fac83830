"""Azure Resource Manager on the laptop: the object that tests, demo and bench use.

It answers over TLS like ARM, issues tokens like App Service, and publishes an event for every finished write. The
methods here act for the fleet's owners and for other deployers; they do not count as the product's calls.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from simulator.arm.compute.artifacts import Artifacts, Handler
from simulator.arm.compute.durations import Durations
from simulator.arm.compute.extensions import Attempt, Collision, Extensions
from simulator.arm.compute.lifecycle import Lifecycle
from simulator.arm.compute.machines import Machine, Machines
from simulator.arm.compute.operations import Operation, Operations
from simulator.arm.compute.spec import ExtensionSpec, Uninstall, VmSpec
from simulator.arm.entra.directory import Directory
from simulator.arm.entra.sign_in import SignIn
from simulator.arm.events import NOBODY, Caller, Change, Events, Publish, other_deployer, owner
from simulator.arm.graph import Graph
from simulator.arm.http.admin import AdminEndpoint
from simulator.arm.http.faults import Faults
from simulator.arm.http.journal import Requests
from simulator.arm.http.limits import Draw, Limits
from simulator.arm.http.routes import Routes
from simulator.arm.http.server import Door
from simulator.arm.http.tokens import IdentityEndpoint, Tokens
from simulator.arm.http.validation import check_vm
from simulator.arm.identity.applications import Breakage
from simulator.arm.identity.machine_identity import assigned_ids
from simulator.arm.identity.user_identities import UserIdentities
from simulator.arm.insights.data_flow import DataFlow
from simulator.arm.insights.insights import Insights
from simulator.arm.insights.sending import Gap
from simulator.arm.logs.endpoint import LogsEndpoint
from simulator.arm.logs.heartbeats import Heartbeats
from simulator.arm.options import Options
from simulator.arm.platform import Platform
from simulator.arm.scopes import Scopes
from simulator.arm.surroundings import Surroundings
from simulator.clock import Clock
from simulator.tls import make_certificates


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of the running simulator, and the environment with which a process uses it."""

    arm: str
    identity: str
    identity_header: str = field(repr=False)
    ca_file: Path
    logs: str = ""
    """The query API of Log Analytics."""
    admin: str = ""
    """The address of what only the simulator knows (`http/admin.py`)."""
    sign_in: str = ""
    """Where applications sign in with a secret (`entra/sign_in.py`)."""

    def environment(self) -> dict[str, str]:
        return {
            "ARM_ENDPOINT": self.arm,
            "LOG_ANALYTICS_ENDPOINT": self.logs,
            "IDENTITY_ENDPOINT": self.identity,
            "IDENTITY_HEADER": self.identity_header,
            "SSL_CERT_FILE": str(self.ca_file),
        }


class ArmSimulator:
    """`machines`, `identities`, `insights`, `requests`, `faults`, `scopes`, `limits`, `tokens` and `directory` are
    public, for tests and demos."""

    def __init__(
        self, clock: Clock, *, seed: int = 0, publish: Publish = lambda event: None, options: Options | None = None
    ) -> None:
        self.options = options or Options()
        self.clock = clock
        self.machines = Machines(self.options.subscriptions)
        self.requests = Requests()
        self.faults = Faults(seed)
        self.scopes = Scopes()
        self.tokens = Tokens(clock, self.options)
        self.directory = Directory()
        self.limits = Limits(clock, self.options)
        self.identities = UserIdentities(self.options.tenant_id, self.machines.add_group)
        events = Events(clock, seed, self.options.tenant_id, publish)
        platform = Platform(
            self.options,
            clock,
            Durations(seed, self.options.durations),
            self.machines,
            Operations(clock, self.options.operation_lifetime),
            events,
            Artifacts(self.options.newest, self.options.generic_handlers),
            self.identities,
        )
        self.insights = Insights(platform)
        self._lifecycle = Lifecycle(platform)
        self._extensions = Extensions(platform)
        self._surroundings = Surroundings(self.machines, self.scopes, self.options)
        graph = Graph(platform, self.scopes, self.insights.associations)
        routes = Routes(
            platform, self._lifecycle, self._extensions, self._surroundings, self.insights, graph, self.scopes
        )
        self._events = events
        self._platform = platform
        self._admin = AdminEndpoint(platform, self.scopes, self.insights)
        self._identity = IdentityEndpoint(self.tokens, self.options)
        self._sign_in = SignIn(self.tokens, self.directory, self.options)
        heartbeats = Heartbeats(platform, self.insights.sending, self.options.heartbeat_lag)
        of_logs = (self.tokens, self.scopes, self.faults, self.requests, self.insights.workspaces, heartbeats)
        self._logs = LogsEndpoint(platform, *of_logs)
        self._door = Door(platform, routes, self.tokens, self.scopes, self.limits, self.faults, self.requests)
        self._runners: list[web.AppRunner] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Every write of an extension that reached a VM, whoever sent it, and the state that it found there."""
        return self._extensions.attempts

    @property
    def collisions(self) -> Sequence[Collision]:
        """Every write of an extension that came while others were under way on its VM, refused or not."""
        return self._extensions.collisions

    @property
    def breakages(self) -> Sequence[Breakage]:
        """Every change of identity, whoever wrote it, that took an application's token or gave it another's."""
        return self._platform.breakages

    @property
    def gaps(self) -> Sequence[Gap]:
        """Every time in which no agent of a running machine sent, although one had before, and whose write began it."""
        return self.insights.sending.gaps

    def publish_handlers(self, source: Callable[[], Iterable[Handler]]) -> None:
        """Add what the source has at any time to the artifact repository; what is there already stays as it is."""
        self._platform.artifacts.publish(source)

    def data_flows(self, vm_id: str) -> DataFlow:
        """Whether the VM's Azure Monitor Agent sends data, and else why not."""
        return self.insights.data_flow(self.machines[vm_id])

    async def start(self, folder: Path | None = None) -> Endpoints:
        """Serve on free loopback ports; certificates go to `folder`, or to one that `stop` removes."""
        if folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="arm-simulator-")
            folder = Path(self._folder.name)
        certificates = make_certificates(folder)
        context = certificates.server_context()
        logs = f"https://127.0.0.1:{await self._serve(self._logs.application(), context)}"
        sign_in = f"https://127.0.0.1:{await self._serve(self._sign_in.application(), context)}"
        arm = await self._serve(self._door.application(sign_in, logs), context)
        identity = await self._serve(self._identity.application(), None)
        admin = await self._serve(self._admin.application(), None)
        return Endpoints(
            f"https://127.0.0.1:{arm}",
            f"http://127.0.0.1:{identity}{self._identity.path}",
            self._identity.header,
            certificates.ca_file,
            logs,
            f"http://127.0.0.1:{admin}",
            sign_in,
        )

    async def stop(self) -> None:
        """Close all connections; operations under way end without an event."""
        self._events.close()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def create_vm(self, spec: VmSpec) -> Machine:
        """The owner creates a VM with the extensions of its spec; this takes simulated time and ends with an event."""
        self.identities.add_all(assigned_ids(spec.identity))
        machine, _ = self._lifecycle.create(spec, check_vm(spec.body(), None), owner())
        self._preinstall(machine, spec.extensions)
        return machine

    def add_vm(self, spec: VmSpec) -> Machine:
        """Add a VM that has existed for long: no operation, no event."""
        self.identities.add_all(assigned_ids(spec.identity))
        machine = self._lifecycle.place(spec, check_vm(spec.body(), None))
        self._lifecycle.finish(machine, spec.power)
        self._preinstall(machine, spec.extensions)
        return machine

    def update_vm(self, vm_id: str, change: Mapping[str, Any]) -> Operation:
        """The owner changes tags or properties."""
        return self._lifecycle.update(self.machines[vm_id], dict(change), owner())

    def start_vm(self, vm_id: str) -> Operation:
        return self._lifecycle.power(self.machines[vm_id], "start", owner())

    def restart_vm(self, vm_id: str) -> Operation:
        return self._lifecycle.power(self.machines[vm_id], "restart", owner())

    def power_off_vm(self, vm_id: str) -> Operation:
        return self._lifecycle.power(self.machines[vm_id], "powerOff", owner())

    def deallocate_vm(self, vm_id: str) -> Operation:
        return self._lifecycle.power(self.machines[vm_id], "deallocate", owner())

    def delete_vm(self, vm_id: str) -> Operation:
        return self._lifecycle.delete(self.machines[vm_id], owner())

    def put_extension_as_other_deployer(
        self, vm_id: str, spec: ExtensionSpec, caller: Caller | None = None
    ) -> Operation:
        """Somebody else's deployment, or that caller, writes an extension and takes tokens of the VM's buckets. Raises
        ARM's refusal."""
        machine = self.machines[vm_id]
        self.drain(vm_id, "UpdateVM", 1)
        body = spec.body(machine.location)
        _, operation, _ = self._extensions.put(machine, spec.name, body, caller or other_deployer())
        return operation

    def delete_extension_as_other_deployer(
        self, vm_id: str, name: str, caller: Caller | None = None
    ) -> Operation | None:
        """Likewise for a removal; None if there is no such extension."""
        self.drain(vm_id, "UpdateVM", 1)
        return self._extensions.delete(self.machines[vm_id], name, caller or other_deployer())

    def patch_identity_as_other_deployer(self, vm_id: str, identity: Mapping[str, Any]) -> Operation:
        """Somebody else writes the VM's identity and takes tokens of its buckets. Raises ARM's refusal."""
        machine = self.machines[vm_id]
        self.drain(vm_id, "UpdateVM", 1)
        return self._lifecycle.update(machine, {"identity": dict(identity)}, other_deployer())

    def associate_as_other_deployer(self, vm_id: str, name: str, rule: str) -> None:
        """Somebody else associates the VM with a rule. Raises ARM's refusal."""
        body = {"properties": {"dataCollectionRuleId": rule}}
        self.insights.associations.put(self.machines[vm_id], name, body, other_deployer())

    def dissociate_as_other_deployer(self, vm_id: str, rule: str) -> int:
        """Somebody else removes the VM's associations with a rule; returns how many there were."""
        machine, associations = self.machines[vm_id], self.insights.associations
        found = [each for each in associations.of_machine(machine) if each.linked.lower() == rule.lower()]
        return sum(associations.delete(machine, each.name, other_deployer()) for each in found)

    def block_network(self, vm_id: str, *, blocked: bool = True) -> None:
        """From now on the agents in the VM cannot reach Azure Monitor; `blocked=False` ends this."""
        machine = self.machines[vm_id]
        machine.network_blocked = blocked
        self._platform.note(Change(machine.id, "network", NOBODY))

    def purge_agent(self, vm_id: str, name: str) -> None:
        """A person removes an agent's packages inside the VM: its extension stays, and cannot be disabled any more."""
        machine = self.machines[vm_id]
        extension = machine.extensions[name.lower()]
        extension.serves = False
        machine.uninstall, machine.uninstall_of = Uninstall.REFUSED, extension.handler
        self._platform.note(Change(f"{machine.id}/extensions/{extension.name}", "purge", owner()))

    def clean_guest(self, vm_id: str) -> None:
        """A person removes inside the VM what incomplete and refused removals left there."""
        machine = self.machines[vm_id]
        machine.leftovers.clear()
        machine.uninstall = Uninstall.CLEAN

    def break_identity(self, status: int | None) -> None:
        """From now on the token endpoint answers with that error status; None ends this."""
        self._identity.broken = status

    def move_identity(self, tenant: str | None) -> None:
        """From now on the token endpoint issues tokens of that tenant; None ends this."""
        self._identity.tenant = tenant or self.options.tenant_id

    def drain(self, vm_id: str, group: str, tokens: float) -> None:
        """Other people's requests take tokens of a VM's bucket (UpdateVM, LowCostGet, GetOperation …)."""
        machine = self.machines[vm_id]
        draw = Draw(machine.subscription, "", "writes", machine.location, group, machine.id, tokens)
        self.limits.drain(draw)

    def add_image(self, resource_id: str, body: Mapping[str, Any]) -> None:
        """A managed image or a gallery image definition, as its GET must show it."""
        self._surroundings.images[resource_id.lower()] = copy.deepcopy(dict(body))

    def describe(self, scope: str, **properties: Any) -> None:
        """Set properties of a subscription or resource group: tags, displayName, managedBy."""
        self._surroundings.describe(scope, copy.deepcopy(properties))

    def _preinstall(self, machine: Machine, specs: tuple[ExtensionSpec, ...]) -> None:
        for spec in specs:
            self._extensions.installed(machine, spec)
        self._platform.note(Change(machine.id, "", owner()))

    async def _serve(self, application: web.Application, context: Any) -> int:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port: int = runner.addresses[0][1]
        return port
