"""The shipped roles are in force in demo and storm: what they do not allow is refused, and the run is not well. They
have every operation that the product needs, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from simulator.arm import ArmSimulator, Kind
from simulator.arm.actions import ACTIONS
from simulator.clock import Clock
from simulator.laptop import SUBSCRIPTIONS
from simulator.roles import (
    assign_shipped_roles,
    association_role,
    heartbeat_role,
    identity_role,
    machine_role,
    removal_role,
    shipped_role,
)
from simulator.storm.invariant import Violation
from simulator.storm.run import storm
from simulator.storm.storm import StormOptions
from tests.contract.arms import over_simulator

ASSOCIATE = "Microsoft.Insights/dataCollectionRuleAssociations/write"
ROLES = (machine_role(), association_role(), identity_role(), removal_role())
# What the roles have although no call of the simulated ARM needs it, with the reason.
BESIDE = {
    "Microsoft.Compute/virtualMachines/instanceView/read": "no source says whether $expand needs it",
    "Microsoft.OperationalInsights/workspaces/read": "the query API's documentation asks for it",
}


@pytest.mark.timeout(240)
async def test_the_roles_are_what_the_product_calls(tmp_path: Path) -> None:
    """A storm with installs, identities, associations, removals, heartbeats and sweeps, and by themselves the calls
    that only some policies and images need."""
    options = StormOptions(seed=1, faults=0.0, duplicates=0.0, lost=0.0, kills=0)
    with (tmp_path / "progress.txt").open("w") as file:
        report = await storm(options, 24, tmp_path, Console(file=file))
    (finding,) = [each for each in report.findings if "roles" in each.name]
    assert finding.ok
    granted = {action for role in (*ROLES, heartbeat_role()) for action in role.actions}
    called = set(report.operations) | await rare_calls()
    assert called <= granted
    assert granted - called == BESIDE.keys()


async def rare_calls() -> set[str]:
    """The operations of the calls for images of galleries, for groups and subscriptions that a rule reads, and for
    data collection endpoints."""
    async with over_simulator() as simulated:
        arm, port, vm = simulated.arm, simulated.port, simulated.add()
        assign_shipped_roles(arm, simulated.subscriptions)
        subscription = f"/subscriptions/{vm.subscription}"
        group = f"{subscription}/resourceGroups/{vm.resource_group}"
        for scope in (subscription, group):
            await port.read_scope(scope)
        image = f"{group}/providers/Microsoft.Compute/galleries/g/images/golden"
        arm.add_image(image, {"properties": {"osType": "Linux"}})
        await port.read_image(image)
        endpoint = f"{group}/providers/Microsoft.Insights/dataCollectionEndpoints/agents"
        await simulated.associate(vm, endpoint, endpoint=True)
        return arm.scopes.needed.of(arm.options.principal_id)


def test_the_logs_role_is_what_reading_logs_calls() -> None:
    """It is for people: the app has none of it."""
    actions = set(shipped_role("logs").actions)
    assert actions == {ACTIONS[kind] for kind in (Kind.VM_GET, Kind.VM_RUN_COMMAND, Kind.OPERATION_POLL)}
    assert not any(role.allows(ACTIONS[Kind.VM_RUN_COMMAND]) for role in ROLES)


@pytest.mark.timeout(120)
async def test_a_storm_without_one_of_the_operations_is_not_well(tmp_path: Path) -> None:
    options = StormOptions(seed=1, faults=0.0, duplicates=0.0, lost=0.0, kills=0, without=ASSOCIATE)
    with (tmp_path / "progress.txt").open("w") as file:
        report = await storm(options, 24, tmp_path, Console(file=file), limit=20)
    (finding,) = [each for each in report.findings if "roles" in each.name]
    assert finding.violations == (Violation("", ASSOCIATE),)
    assert not report.ok
    (rows,) = [each for each in report.findings if "correct final row" in each.name]
    assert rows.violations, "nothing was associated"


@pytest.mark.parametrize("action", [action for role in ROLES for action in role.actions])
def test_each_operation_is_allowed_by_the_shipped_roles_and_refused_without_it(action: str) -> None:
    whole, less = (ArmSimulator(Clock()) for _ in range(2))
    assign_shipped_roles(whole, SUBSCRIPTIONS)
    assign_shipped_roles(less, SUBSCRIPTIONS, without=action)
    scope = f"/subscriptions/{next(iter(SUBSCRIPTIONS))}/resourcegroups/g"
    ours = whole.options.principal_id
    assert whole.scopes.allows(ours, action, scope)
    assert not less.scopes.allows(ours, action, scope)
    assert not whole.scopes.allows(ours, "Microsoft.Compute/virtualMachines/delete", scope)
