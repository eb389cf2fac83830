"""The composition root: reads settings, policies and catalogue, and makes the application with its adapters.

Importing this module makes nothing and cannot fail. A problem with a setting or a file is shown at
`/api/health/details` and in the rows of the VMs that it keeps from being onboarded.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from onboarding.application.dispatcher import Dispatcher
from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.limits.pauses import Pauses, Sender
from onboarding.application.limits.rollout_limits import RolloutLimits
from onboarding.application.ports import (
    Arm,
    Inventory,
    LedgerReader,
    LetterCount,
    PauseStore,
    Poison,
    PolicyStore,
    Ports,
    RolloutStore,
    Shell,
)
from onboarding.application.readers.container_reader import ContainerReader
from onboarding.application.readers.heartbeat_reader import HeartbeatReader
from onboarding.application.readers.image_definitions import ImageDefinitions
from onboarding.application.readers.policy_scopes import PolicyScopes
from onboarding.application.readers.policy_versions import FirstSeen, PolicyVersions
from onboarding.application.reconciling.associations import AssociationWriter
from onboarding.application.reconciling.decider import Decider
from onboarding.application.reconciling.executor import Executor
from onboarding.application.reconciling.machine_reader import MachineReader
from onboarding.application.reconciling.preceding_policies import PrecedingPolicies
from onboarding.application.reconciling.reconciler import Reconciler
from onboarding.application.reconciling.recorder import Recorder
from onboarding.application.reconciling.unread_machine import UnreadMachine
from onboarding.application.rules import Rules
from onboarding.application.sweep.sweep_queue import Budget
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import resolve_settings
from onboarding.domain.errors import ConfigurationError, StorageError
from onboarding.domain.policy.policy import Effect, Policy, PolicySet
from onboarding.domain.policy.routing import routes
from onboarding.domain.policy.step_needs import step_needs
from onboarding.loading.package_data import reference_data
from onboarding.loading.policy_folder import load_overrides, load_policies, load_used_catalogue
from onboarding.logging import logger
from onboarding.settings import Settings, Storage, read_settings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from onboarding.application.enforcement import Enforcement
    from onboarding.application.operator_requests import OperatorRequests
    from onboarding.application.pause_requests import PauseRequests
    from onboarding.application.sweep.sweeper import Sweeper
    from onboarding.application.transport.queued_events import EventStore
    from onboarding.azure.arm.arm_requests import ArmRequests
    from onboarding.azure.http_connections import Connections
    from onboarding.azure.storage.storage_requests import StorageRequests
    from onboarding.azure.storage.table_client import TableClient

_log = logger(__name__)


class Configuration(Struct, frozen=True):
    """Everything that was read from settings and files."""

    settings: Settings
    rules: Rules
    problems: tuple[str, ...]
    """What is wrong with settings and files, each with its fix; empty: nothing is."""
    notices: tuple[str, ...] = ()
    """What is no problem and may surprise: shipped extensions that are replaced by the user's own."""


class Application:
    """Makes and holds all collaborators that work on machines, once per process. Nothing else makes them.

    What an event needs is made at once; what only the timer or a person needs is made at its first use."""

    def __init__(self, ports: Ports, rules: Rules, budget: Budget) -> None:
        self.ports = ports
        self.rules = rules
        self.budget = budget
        self._policy_scopes = PolicyScopes(rules.policies, ports.inventory)
        self._containers = ContainerReader(ports.arm)
        self._heartbeats = HeartbeatReader(ports.heartbeats, ports.clock, budget.heartbeats_held)
        self.pauses = Pauses(ports.pauses, ports.clock)
        sender = Sender(ports.arm, self.pauses)
        breakers = CircuitBreakers(ports.breakers)
        rollouts = RolloutLimits(ports.rollouts, rules.policies.policies)
        self._recorder = recorder = Recorder(ports, breakers, rollouts)
        self._reconciler = Reconciler(
            rules,
            MachineReader(
                ports.arm,
                self._policy_scopes,
                ImageDefinitions(ports.arm, rules.reference, rules.overrides),
                self._containers,
            ),
            UnreadMachine(ports.arm, rules, breakers, recorder),
            Decider(rules, self.pauses, breakers, rollouts),
            PrecedingPolicies(ports.arm, self._heartbeats, ports.clock),
            AssociationWriter(ports.arm, sender, self.pauses, breakers, ports.clock),
            Executor(sender, recorder, breakers, ports.clock),
            recorder,
            FirstSeen(rules.policies, ports.policy_states),
        )
        self.dispatcher = Dispatcher(ports, rules.policies, self._reconciler, recorder, breakers, self.pauses)

    @cached_property
    def sweeper(self) -> Sweeper:
        # Imported here: a worker that the timer never calls does not load it.
        from onboarding.application.sweep.sweeper import Sweeper

        versions = PolicyVersions(self.rules.policies, self.ports.policy_states, self.budget.stable)
        return Sweeper(
            self.ports, self.rules, self.budget, self._policy_scopes, versions, self._containers, self._heartbeats
        )

    @cached_property
    def requests(self) -> OperatorRequests:
        from onboarding.application.operator_requests import OperatorRequests

        return OperatorRequests(self.ports, self.rules, self._reconciler, self.pauses)

    def enforcement(self, policy: Policy) -> Enforcement:
        """What takes up the machines that are older than that policy."""
        from onboarding.application.enforcement import Enforcement

        return Enforcement(self.ports, self.rules, self._recorder, self.pauses, policy, self.budget.per_minute)


def read_configuration(environment: Mapping[str, str]) -> Configuration:
    """Read settings, catalogue and policies; a file that cannot be used is left out and named."""
    settings = read_settings(environment)
    folder = Path(settings.policies)
    catalogue = load_used_catalogue(folder)
    policies, problems = load_policies(folder, catalogue.entries, catalogue.unusable)
    overrides, override_problems = load_overrides(folder)
    active = policies.with_settings(environment)
    rules = Rules(active, catalogue.entries, environment, reference_data(), overrides, catalogue.unusable)
    of_settings = (*_none_active(active), *_setting_problems(rules))
    found = (*settings.problems, *catalogue.problems, *problems, *override_problems, *of_settings)
    return Configuration(settings, rules, found, catalogue.notices)


def connect(configuration: Configuration) -> Application:
    """The application for a long-lived process; it sends no request before the first event. Raises StorageError if the
    settings name no storage account."""
    ports, _ = _ports(configuration, AsyncExitStack())
    return assemble(ports, configuration)


def assemble(ports: Ports, configuration: Configuration) -> Application:
    """The application over the given ports."""
    return Application(ports, configuration.rules, Budget.of(configuration.settings))


def connect_event_store(configuration: Configuration) -> EventStore:
    """Where events of the queue are kept that could not be handled. Raises StorageError if the settings name no storage
    account."""
    from onboarding.azure.http_connections import Connections
    from onboarding.azure.identity import credential
    from onboarding.azure.storage.storage_clients import event_store

    settings = configuration.settings
    storage = _account(settings)
    identity = None
    if storage.connection_string is None:
        identity = credential(settings.cloud, storage.client_id, settings.values)
    return event_store(storage, settings.events_queue, identity, Connections())


@asynccontextmanager
async def open_ports(configuration: Configuration, *, check: bool = False) -> AsyncIterator[Ports]:
    """All ports for one command, closed at its end. Raises StorageError; with `check`, also if the table or the queue
    cannot be read, so that a command fails before it writes."""
    from onboarding.azure.storage.storage_check import check_storage

    async with AsyncExitStack() as closing:
        ports, services = _ports(configuration, closing)
        if check:
            await check_storage(configuration.settings.storage, *services)
        yield ports


@asynccontextmanager
async def open_machines(configuration: Configuration) -> AsyncIterator[tuple[Arm, Shell]]:
    """ARM and run commands, for commands that read VMs without the table; closed at the end."""
    from onboarding.azure.arm.arm_client import ArmAdapter
    from onboarding.azure.arm.run_commands import RunCommands

    async with _open_azure(configuration.settings) as requests:
        yield ArmAdapter(requests), RunCommands(requests)


@asynccontextmanager
async def open_fleet(settings: Settings) -> AsyncIterator[tuple[Arm, Inventory]]:
    """ARM and the inventory, for commands that read many VMs without the table; closed at the end."""
    from onboarding.azure.arm.arm_client import ArmAdapter
    from onboarding.azure.arm.resource_graph import GraphAdapter

    async with _open_azure(settings) as requests:
        yield ArmAdapter(requests), GraphAdapter(requests)


@asynccontextmanager
async def _open_azure(settings: Settings) -> AsyncIterator[ArmRequests]:
    """The client of ARM, closed at the end."""
    from onboarding.azure.http_connections import Connections
    from onboarding.azure.identity import credential

    connections = Connections()
    identity = credential(settings.cloud, settings.client_id, settings.values)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(identity.close)
        closing.push_async_callback(connections.close)
        yield _arm_requests(settings, identity, connections)


def _arm_requests(settings: Settings, identity: AsyncTokenCredential, connections: Connections) -> ArmRequests:
    from onboarding.azure.arm.arm_requests import ArmRequests

    return ArmRequests(identity, settings.arm_endpoint, settings.cloud.arm_scope, now, connections=connections)


def _ports(configuration: Configuration, closing: AsyncExitStack) -> tuple[Ports, tuple[StorageRequests, ...]]:
    """Make the adapters; returns them with the storage services that they use. `closing` closes what they open."""
    # Imported here: the SDKs take half a second to load, and an ignored event does not need them.
    from azure.core.credentials import AzureKeyCredential

    from onboarding.azure.arm.arm_client import ArmAdapter
    from onboarding.azure.arm.arm_requests import ArmRequests
    from onboarding.azure.arm.resource_graph import GraphAdapter
    from onboarding.azure.heartbeats import HeartbeatAdapter
    from onboarding.azure.http_connections import Connections
    from onboarding.azure.identity import credential, object_id
    from onboarding.azure.outcome_topic import NullPublisher, TopicPublisher
    from onboarding.azure.storage.schedule_queue import StorageScheduleQueue
    from onboarding.azure.storage.storage_clients import onboarding_table, poison_queue, schedule_queue_client
    from onboarding.azure.storage.stores.breaker_store import TableBreakerStore
    from onboarding.azure.storage.stores.pause_store import TablePauses
    from onboarding.azure.storage.stores.policy_version_store import TablePolicyStates
    from onboarding.azure.storage.stores.rollout_store import TableRolloutStore
    from onboarding.azure.storage.stores.sweep_store import TableSweeps
    from onboarding.azure.storage.table_ledger import TableLedger

    settings = configuration.settings
    storage = _account(settings)
    identity = credential(settings.cloud, settings.client_id, settings.values)
    closing.push_async_callback(identity.close)
    publisher: NullPublisher | TopicPublisher = NullPublisher()
    if settings.topic_endpoint:
        key = settings.topic_key
        publisher = TopicPublisher(settings.topic_endpoint, AzureKeyCredential(key.reveal()) if key else identity)
    closing.push_async_callback(publisher.close)
    connections = Connections()
    closing.push_async_callback(connections.close)
    table = onboarding_table(storage, identity, connections)
    poison = poison_queue(storage, identity, connections)
    closing.push_async_callback(poison.close)
    queue = schedule_queue_client(storage, identity, connections)
    requests = _arm_requests(settings, identity, connections)
    logs = ArmRequests(identity, settings.logs_endpoint, settings.cloud.logs_scope, now, connections=connections)
    ledger = TableLedger(table, outbox=bool(settings.topic_endpoint))
    ports = Ports(
        arm=ArmAdapter(requests),
        ledger=ledger,
        reader=ledger,
        schedule_queue=StorageScheduleQueue(queue),
        breakers=TableBreakerStore(table),
        rollouts=TableRolloutStore(table),
        pauses=TablePauses(table),
        publisher=publisher,
        clock=now,
        inventory=GraphAdapter(requests),
        sweeps=TableSweeps(table),
        poison=poison,
        policy_states=TablePolicyStates(table),
        caller=lambda: object_id(identity, settings.cloud.arm_scope),
        heartbeats=HeartbeatAdapter(logs),
        dead_letters=partial(_count_dead_letters, storage, identity, connections),
    )
    return ports, (table.requests, queue.requests)


async def _count_dead_letters(
    storage: Storage, identity: AsyncTokenCredential, connections: Connections
) -> LetterCount | str:
    # Imported here: only people ask for it.
    from onboarding.azure.storage.dead_letters import count_dead_letters
    from onboarding.azure.storage.storage_clients import dead_letters

    if storage.connection_string is None and not storage.blob_endpoint:
        return "the settings name no blob service: name the account (<setting>__accountName, or __blobServiceUri too)"
    return await count_dead_letters(dead_letters(storage, identity, connections))


@asynccontextmanager
async def open_ledger(environment: Mapping[str, str]) -> AsyncIterator[LedgerReader]:
    """The table, for reading; closed at the end. Raises StorageError if the settings name no account."""
    from onboarding.azure.storage.table_ledger import TableLedger

    async with _open_table(environment) as table:
        yield TableLedger(table)


@asynccontextmanager
async def open_rollouts(environment: Mapping[str, str]) -> AsyncIterator[RolloutStore]:
    """The counts of the policies' rollout limits, as `open_ledger`."""
    from onboarding.azure.storage.stores.rollout_store import TableRolloutStore

    async with _open_table(environment) as table:
        yield TableRolloutStore(table)


class OpenPauses(Struct, frozen=True):
    """The pauses of the table, for one command."""

    requests: PauseRequests
    policies: Callable[[], Awaitable[frozenset[str]]]
    """The names of the policies that the table or the folder of policies has. Raises StorageError."""
    person: Callable[[], Awaitable[str]]
    """The object id of whoever is signed in; empty if that is unknown, as with the key of a connection string."""


@asynccontextmanager
async def open_pauses(environment: Mapping[str, str]) -> AsyncIterator[OpenPauses]:
    """The pauses, as `open_ledger`. The policies need not be usable: a person may have to stop what they do."""
    from onboarding.application.pause_requests import PauseRequests
    from onboarding.application.row_queries import existing_names
    from onboarding.azure.identity import object_id
    from onboarding.azure.storage.storage_clients import onboarding_table
    from onboarding.azure.storage.stores.pause_store import TablePauses
    from onboarding.azure.storage.stores.policy_version_store import TablePolicyStates

    async with _open_storage(environment) as (storage, identity), onboarding_table(storage, identity) as table:

        async def policies() -> frozenset[str]:
            return (await existing_names(read_configuration(environment).rules, TablePolicyStates(table)))[0]

        async def person() -> str:
            return await object_id(identity) if identity is not None else ""

        yield OpenPauses(PauseRequests(TablePauses(table), now), policies, person)


class OpenStatus(Struct, frozen=True):
    """What `onboard status` reads."""

    ledger: LedgerReader
    pauses: PauseStore
    policy_states: PolicyStore


@asynccontextmanager
async def open_status(environment: Mapping[str, str]) -> AsyncIterator[OpenStatus]:
    """The table and the pauses, as `open_ledger`."""
    from onboarding.azure.storage.stores.pause_store import TablePauses
    from onboarding.azure.storage.stores.policy_version_store import TablePolicyStates
    from onboarding.azure.storage.table_ledger import TableLedger

    async with _open_table(environment) as table:
        yield OpenStatus(TableLedger(table), TablePauses(table), TablePolicyStates(table))


@asynccontextmanager
async def open_poison(environment: Mapping[str, str]) -> AsyncIterator[Poison]:
    """The poison queue, as `open_ledger`."""
    from onboarding.azure.storage.storage_clients import poison_queue

    async with _open_storage(environment) as (storage, identity):
        queue = poison_queue(storage, identity)
        try:
            yield queue
        finally:
            await queue.close()


async def storage_problem(environment: Mapping[str, str]) -> str:
    """Why the table or the queue cannot be read, and what to do; empty: both can. For a command that failed."""
    from onboarding.azure.http_connections import Connections
    from onboarding.azure.storage.storage_check import check_storage
    from onboarding.azure.storage.storage_clients import onboarding_table, schedule_queue_client

    connections = Connections()
    try:
        async with _open_storage(environment) as (storage, identity):
            table = onboarding_table(storage, identity, connections)
            queue = schedule_queue_client(storage, identity, connections)
            await check_storage(storage, table.requests, queue.requests)
    except StorageError as error:
        return str(error)
    finally:
        await connections.close()
    return ""


@asynccontextmanager
async def open_arm(environment: Mapping[str, str]) -> AsyncIterator[Arm]:
    """ARM, closed at the end."""
    from onboarding.azure.arm.arm_client import ArmAdapter

    async with _open_azure(read_settings(environment)) as requests:
        yield ArmAdapter(requests)


@asynccontextmanager
async def _open_table(environment: Mapping[str, str]) -> AsyncIterator[TableClient]:
    from onboarding.azure.storage.storage_clients import onboarding_table

    async with _open_storage(environment) as (storage, identity), onboarding_table(storage, identity) as table:
        yield table


@asynccontextmanager
async def _open_storage(environment: Mapping[str, str]) -> AsyncIterator[tuple[Storage, AsyncTokenCredential | None]]:
    """The storage account, and the identity for it (None: the connection string has a key)."""
    from onboarding.azure.identity import credential

    settings = read_settings(environment)
    storage = _account(settings)
    if storage.connection_string is not None:
        yield storage, None
        return
    identity = credential(settings.cloud, storage.client_id, settings.values)
    try:
        yield storage, identity
    finally:
        await identity.close()


def _account(settings: Settings) -> Storage:
    """The storage account of the settings. Raises StorageError if they name none."""
    if not settings.storage.named:
        raise StorageError("; ".join(settings.problems))
    return settings.storage


def now() -> datetime:
    return datetime.now(UTC)


class Worker:
    """The configuration and the application of one worker process, each made at its first use."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._configuration: Configuration | None = None
        self._application: Application | None = None
        self._event_store: EventStore | None = None

    @property
    def configuration(self) -> Configuration:
        if self._configuration is None:
            self._configuration = read_configuration(self._environment)
            _log_configuration(self._configuration)
        return self._configuration

    @property
    def application(self) -> Application:
        if self._application is None:
            with _collector_off():
                self._application = connect(self.configuration)
        return self._application

    def event_store(self) -> EventStore:
        """Made by the first event of the queue that fails."""
        if self._event_store is None:
            self._event_store = connect_event_store(self.configuration)
        return self._event_store


worker = Worker(os.environ)


@contextmanager
def _collector_off() -> Iterator[None]:
    """Keeps Python's garbage collector off while the SDKs load, and away from their objects afterwards.

    The SDKs' modules are a hundred thousand objects that stay for good. A full pass over them would stop all events for
    a tenth of a second."""
    gc.disable()
    try:
        yield
        gc.freeze()  # only after success: each event tries again, and the garbage of a failed try must not be kept
    finally:
        gc.enable()


def _none_active(policies: PolicySet) -> Iterator[str]:
    """The problem that the app settings make no policy active, with the settings that would."""
    off = [policy.off for policy in policies.policies if policy.inactive]
    if off and all(policy.off for policy in policies.policies):
        problem = f"no policy is active, so nothing is installed ({'; '.join(off)})"
        yield str(ConfigurationError("", problem, "set the app settings of the policy that you want"))


def _setting_problems(rules: Rules) -> list[str]:
    return [
        str(ConfigurationError(f"policy {policy.name}", problem, "correct the app setting or the policy"))
        for policy in rules.policies.policies
        if policy.effect is Effect.DEPLOY and not policy.inactive
        for variant in routes(policy)
        for name in policy.extensions
        for problem in resolve_settings(rules.catalogue[name], variant, rules.app_settings, None).problems
    ] + [
        str(ConfigurationError(f"policy {policy.name}", problem, "correct the app setting or the policy"))
        for policy in rules.policies.policies
        if policy.removes and not policy.inactive
        for problem in step_needs(policy, rules.app_settings).problems
    ]


def _log_configuration(configuration: Configuration) -> None:
    for problem in configuration.problems:
        _log.error("configuration: %s", problem)
    for notice in configuration.notices:
        _log.info("%s", notice)
    for policy in configuration.rules.policies.policies:
        if policy.inactive:
            _log.info("%s", policy.off)
    for entry in _in_use(configuration.rules):
        if entry.retired:
            _log.warning("%s; after that day it is installed all the same, without support", entry.retired)


def _in_use(rules: Rules) -> list[CatalogueEntry]:
    active = (policy for policy in rules.policies.policies if not policy.inactive)
    names = dict.fromkeys(name for policy in active for name in policy.extensions)
    return [rules.catalogue[name] for name in names]
