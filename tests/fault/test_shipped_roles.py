"""The shipped roles are in force in demo and storm: what they do not allow is refused, and the run is not well."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from simulator.arm import ArmSimulator
from simulator.clock import Clock
from simulator.laptop import SUBSCRIPTIONS
from simulator.roles import assign_shipped_roles, association_role, identity_role, machine_role, removal_role
from simulator.storm.invariant import Violation
from simulator.storm.run import storm
from simulator.storm.storm import StormOptions

ASSOCIATE = "Microsoft.Insights/dataCollectionRuleAssociations/write"
ROLES = (machine_role(), association_role(), identity_role(), removal_role())


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
