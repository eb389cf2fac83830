"""A removed association over the real adapters: by its event, where Azure sends one, and by the sweep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from onboarding.domain.reconcile.row import Outcome
from onboarding.settings import Storage
from simulator.arm import Machine
from simulator.arm.events import Caller
from simulator.azurite import Azurite
from tests.adapters.conftest import SUBSCRIPTIONS, storage_of
from tests.e2e.fleet import Fleet, open_fleet
from tests.flow.world import BIONIC

_RULES = f"/subscriptions/{SUBSCRIPTIONS[0]}/resourceGroups/monitor/providers/Microsoft.Insights/dataCollectionRules"
RULE, OTHER = f"{_RULES}/linux", f"{_RULES}/portal"
POLICY = {
    "name": "azure-monitor",
    "extension": "azure-monitor-agent-linux",
    "identity": {"add": "system"},
    "dataCollectionRules": RULE,
}


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with Azurite() as azurite:
        yield storage_of(azurite.connection_string)


def remove(fleet: Fleet, machine: Machine) -> None:
    """A person removes all associations of the VM."""
    associations = fleet.arm.insights.associations
    for each in associations.of_machine(machine):
        assert associations.delete(machine, each.name, Caller("somebody"))


def rules_of(fleet: Fleet, machine: Machine) -> list[str]:
    return [rule.id.rpartition("/")[2] for rule in fleet.arm.insights.associations.rules_of(machine)]


async def onboarded(fleet: Fleet) -> list[Machine]:
    for rule in (RULE, OTHER):
        fleet.arm.insights.resources.add_rule(rule, kind="Linux")
    machines = fleet.add(3, image=BIONIC)
    assert (await fleet.sweep_and_reconcile()).missed == 3
    assert await fleet.outcomes() == {Outcome.INSTALLED: 3}
    fleet.events.clear()
    fleet.calls()
    return machines


@pytest.mark.parametrize("event", [True, False], ids=["event", "sweep"])
async def test_a_removed_association_comes_back(storage: Storage, event: bool) -> None:
    async with open_fleet(storage, policy=POLICY, association_events=event) as fleet:
        first, *_ = machines = await onboarded(fleet)
        remove(fleet, first)
        if event:
            assert await fleet.deliver_events() == 1
        else:
            report = await fleet.sweep_and_reconcile()
            assert (report.association, report.requested, report.complete) == (1, 1, True)
        assert [rules_of(fleet, machine) for machine in machines] == [["linux"]] * 3
        calls = fleet.calls()
        assert (calls["vm-get"], calls["association-list"], calls["association-put"]) == (1, 1, 1)
        assert calls["graph-query"] == (0 if event else 2)
        await fleet.pass_time(timedelta(hours=1).total_seconds())
        assert (await fleet.sweep_and_reconcile()).requested == 0


async def test_rules_beside_those_of_the_policy_are_counted(storage: Storage) -> None:
    async with open_fleet(storage, policy=POLICY) as fleet:
        for machine in (await onboarded(fleet))[:2]:
            body = {"properties": {"dataCollectionRuleId": OTHER}}
            fleet.arm.insights.associations.put(machine, "portal", body, Caller("somebody"))
        report = await fleet.sweep.run()
        assert report.beside == {RULE.lower(): {OTHER.lower(): 2}}
        assert report.complete
