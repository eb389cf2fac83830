"""Removals that wait for heartbeats, whose workspace is Log Analytics' own endpoint: the real SDK over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.heartbeats import HeartbeatAdapter
from onboarding.azure.http_connections import Connections
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId, parse_id
from simulator.arm import ExtensionSpec, FaultRule, Role, VmSpec
from simulator.arm.http.faults import read_rule_file
from simulator.laptop import ROOT
from tests.adapters.conftest import SUBSCRIPTIONS, Azure
from tests.adapters.test_heartbeats import NEW, RULE, SCOPE, TARGET, WORKSPACE
from tests.flow.steps.test_azure_monitor import AMA, NAME
from tests.flow.steps.test_only_after import BEATING, ENFORCED
from tests.flow.world import BIONIC, World, extension, vm_body

OLD = ExtensionSpec(
    name="OMS",
    publisher="Microsoft.EnterpriseCloud.Monitoring",
    type="OmsAgentForLinux",
    version="1.3",
    settings={"workspaceId": WORKSPACE},
)
IDENTITY = {"type": "SystemAssigned", "principalId": "99999999-0000-4000-8000-000000000009"}
RETIRE = {**BEATING, "onlyAfter": {**BEATING["onlyAfter"], "for": "30m"}}
FAULTS = list(read_rule_file(ROOT / "samples" / "faults" / "heartbeats.yaml"))


@dataclass
class Migration:
    """The product over ports in memory, with a workspace whose heartbeats follow from the simulator's machines."""

    azure: Azure
    world: World

    def add(self, name: str, *, sends: bool = True) -> VmId:
        """A machine with both agents; `sends`: the new one reaches the workspace."""
        spec = VmSpec(name=name, identity=IDENTITY, extensions=(OLD, NEW))
        vm = parse_id(self.azure.arm.add_vm(spec).id)
        assert isinstance(vm, VmId)
        if sends:
            self.azure.arm.associate_as_other_deployer(str(vm), "ours", RULE)
        created = self.azure.clock.now() - timedelta(days=30)
        body = {**vm_body(name, image=BIONIC, created=created), "id": str(vm), "identity": dict(IDENTITY)}
        arm = self.world.arm
        arm.machines[vm.key] = body
        arm.associations[vm.key] = {"ours": {"name": "ours", "properties": {"dataCollectionRuleId": RULE}}}
        arm.set_extension(vm, extension(NAME, publisher="Microsoft.Azure.Monitor", type=NAME))
        arm.set_extension(vm, extension("OMSExtension"))
        return vm

    async def advance(self, minutes: int) -> None:
        """Let the time pass, for the agents and for the product, which does each minute what has become due."""
        for _ in range(minutes):
            await self.azure.clock.advance(60)
            while await self.world.run_next_check(self.azure.clock.now()):
                pass
            self.world.now = self.azure.clock.now()

    @property
    def queries(self) -> int:
        return self.azure.arm.requests.count(kind="logs-query")


@pytest.fixture
async def migration(azure: Azure) -> AsyncIterator[Migration]:
    azure.arm.insights.workspaces.add(TARGET, WORKSPACE)
    azure.arm.insights.resources.add_rule(RULE, workspace=TARGET)
    requests = ArmRequests(
        azure.credential, azure.endpoints.logs, SCOPE, azure.clock.now, connections=Connections(azure.tls)
    )
    settings = {"DATA_COLLECTION_RULE_ID": RULE, "WORKSPACE": WORKSPACE}
    world = World(
        policies=[ENFORCED, RETIRE],
        app_settings=settings,
        now=azure.clock.now(),
        heartbeats=HeartbeatAdapter(requests),
    )
    world.arm.subscriptions = tuple(SUBSCRIPTIONS)
    yield Migration(azure, world)
    await requests.close()


async def test_the_agents_own_heartbeats_let_the_old_agents_go(migration: Migration) -> None:
    world = migration.world
    vms = [migration.add(f"web{number:02}") for number in range(20)]
    quiet = migration.add("quiet", sends=False)
    for vm in (*vms, quiet):
        await world.updated(vm)
        assert world.row(vm, AMA).outcome is Outcome.ALREADY_INSTALLED
        assert world.row(vm).waiting_for is WaitingFor.ONLY_AFTER
    assert migration.queries == 0
    await migration.advance(31)
    assert world.arm.calls.count("DELETE") == 20
    assert all(world.row(vm).outcome is Outcome.REQUESTED for vm in vms)
    assert world.row(quiet).waiting_for is WaitingFor.HEARTBEAT
    assert migration.queries <= 11
    before = migration.queries
    await world.sweep_and_reconcile()
    assert migration.queries == before, "the answer is young enough"
    migration.azure.arm.associate_as_other_deployer(str(quiet), "ours", RULE)
    await migration.advance(12)
    assert (await world.sweep_and_reconcile()).heartbeat == 1
    assert world.row(quiet).outcome is Outcome.REQUESTED
    assert migration.queries == before + 1, "the sweep's own"


@pytest.mark.parametrize(
    ("rule", "cause"),
    [
        (FAULTS[0], "throttled"),
        (FAULTS[1], "workspace-unreadable"),
        (FAULTS[2], "workspace-unreadable"),
        (FAULTS[4], "platform-error"),
    ],
)
async def test_what_log_analytics_refuses_is_waited_for_with_its_cause(
    migration: Migration, rule: FaultRule, cause: str
) -> None:
    world, vm = migration.world, migration.add("web01")
    await world.updated(vm)
    migration.azure.arm.faults.add(rule)
    await migration.advance(31)
    row = world.row(vm)
    assert (row.outcome, row.waiting_for, row.cause) == (Outcome.WAITING, WaitingFor.HEARTBEAT, cause)
    assert world.row(vm, AMA).outcome is Outcome.ALREADY_INSTALLED
    await migration.advance(12)
    await world.sweep_and_reconcile()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_role_that_does_not_cover_the_heartbeats_is_named(migration: Migration) -> None:
    """Log Analytics says then that there is no such table."""
    world, vm, arm = migration.world, migration.add("web01"), migration.azure.arm
    workspaces = "Microsoft.OperationalInsights/workspaces"
    arm.scopes.assign(arm.options.principal_id, TARGET, Role((f"{workspaces}/query/read",)))
    await world.updated(vm)
    await migration.advance(31)
    row = world.row(vm)
    assert (row.waiting_for, row.cause) == (WaitingFor.HEARTBEAT, "workspace-unreadable")
    assert "HEARTBEAT_WORKSPACE_ID" in row.advice
