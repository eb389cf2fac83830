"""Wars: somebody undoes what the product does, again and again, over the real adapters. After the third time it leaves
the machine to a person, and the whole war has cost three rounds' requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.settings import Storage
from simulator.arm import EngineHabits, ExtensionSpec, Machine, PolicyEngine, Remover, RemoverHabits
from simulator.azurite import Azurite
from tests.adapters.conftest import storage_of
from tests.e2e.fleet import Fleet, open_fleet
from tests.flow.world import OMS, POLICY, WORKSPACE_ID

RETIRE = {"name": "retire-oms", "effect": "removeIfExists", "extension": OMS}
PUBLISHER, TYPE = "Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux"
OLD = ExtensionSpec(name="OMS", publisher=PUBLISHER, type=TYPE, version="1.3", settings={"workspaceId": WORKSPACE_ID})
EVERY = 3_600.0
DAY = timedelta(days=1)
ROUNDS = 3


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with Azurite() as azurite:
        yield storage_of(azurite.connection_string)


async def live(fleet: Fleet, time: timedelta, *, events: bool) -> None:
    """Let time pass: with all events at once, or with sweeps alone."""
    end = fleet.clock.now() + time
    while fleet.clock.now() < end:
        await fleet.deliver(timedelta(minutes=1 if events else 10))
        if events:
            await fleet.deliver_events()
        else:
            fleet.events.clear()
            await fleet.sweep.run()


async def final_row(fleet: Fleet, machine: Machine) -> Any:
    vm = parse_id(machine.id)
    assert isinstance(vm, VmId)
    known = await fleet.ports.ledger.read(vm)
    return known.targets[OMS].row


def calls(fleet: Fleet, machine: Machine) -> Counter[str]:
    """Our requests about the machine. In each round these are a read, a write and a read; one more finds the third
    undoing."""
    return Counter(request.method for request in fleet.arm.requests.select(vm=machine.id))


@pytest.mark.parametrize("events", [True, False], ids=["events", "sweeps"])
async def test_a_policy_engine_that_installs_what_we_remove_gets_its_way_after_three_rounds(
    storage: Storage, events: bool
) -> None:
    async with open_fleet(storage, policy=RETIRE) as fleet:
        (machine,) = fleet.add(1, extensions=(OLD,))
        party = PolicyEngine(fleet.arm, EngineHabits(extension=OLD, every=EVERY))
        party.start()
        await fleet.sweep.run()
        await live(fleet, DAY, events=events)
        row = await final_row(fleet, machine)
        assert (row.outcome, row.error_code) == (Outcome.FAILED, "contested")
        assert party.written == {machine.key: ROUNDS}
        assert calls(fleet, machine) == {"GET": 2 * ROUNDS + 1, "DELETE": ROUNDS}


@pytest.mark.parametrize("events", [True, False], ids=["events", "sweeps"])
async def test_an_owner_who_removes_what_we_install_gets_his_way_after_three_rounds(
    storage: Storage, events: bool
) -> None:
    async with open_fleet(storage, policy=POLICY) as fleet:
        (machine,) = fleet.add(1)
        party = Remover(fleet.arm, RemoverHabits(handler=OLD.publisher + "." + OLD.type, every=EVERY))
        party.start()
        await fleet.sweep.run()
        await live(fleet, DAY, events=events)
        row = await final_row(fleet, machine)
        assert (row.outcome, row.error_code) == (Outcome.FAILED, "contested")
        assert party.written == {machine.key: ROUNDS}
        assert calls(fleet, machine) == {"GET": 2 * ROUNDS + 1, "PUT": ROUNDS}
