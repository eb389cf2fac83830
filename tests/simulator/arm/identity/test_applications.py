"""Applications that get tokens on a VM: which changes of identity break them, and who wrote those."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.arm import Application, Habits, SecondParty
from simulator.arm.events import other_deployer
from tests.simulator.arm.identity.test_identity_writes import FIRST, SECOND, THIRD, add_all, users, write
from tests.simulator.conftest import Scene

BARE, OWN = Application("shop"), Application("backup", FIRST.upper())
SYSTEM = {"type": "SystemAssigned"}
BOTH = {"type": "SystemAssigned, UserAssigned"}

# the identity before, the write, and what happens to the application that names none: before → after
CHANGES: list[tuple[str, Any, Any, tuple[str, str] | None]] = [
    ("system stays", SYSTEM, users(FIRST) | BOTH, None),
    ("one id stays", users(FIRST), users(FIRST), None),
    ("nothing was there", None, users(FIRST), None),
    ("a second id leaves none", users(FIRST), users(SECOND), (FIRST.lower(), "")),
    ("system beside an id takes over", users(FIRST), users(FIRST) | BOTH, (FIRST.lower(), "system")),
    ("ids drop system", SYSTEM, users(FIRST), ("system", FIRST.lower())),
    ("all removed", users(FIRST), {"type": "None"}, (FIRST.lower(), "")),
    ("two ids never served", users(FIRST, SECOND), users(THIRD), None),
]


@pytest.mark.parametrize(("before", "change", "broken"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
async def test_an_application_without_a_named_identity(
    scene: Scene, before: Any, change: Any, broken: tuple[str, str] | None
) -> None:
    add_all(scene)
    machine = scene.add(identity=before, applications=(BARE,))
    scene.add("web-2", identity=before, applications=(BARE,))
    await write(scene, machine, change)
    found = [(each.vm, each.application, each.principal, each.before, each.after) for each in scene.arm.breakages]
    expected = [] if broken is None else [(machine.key, "shop", scene.arm.options.principal_id, *broken)]
    assert found == expected


async def test_one_that_names_its_identity_breaks_only_without_that(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add(identity=users(FIRST), applications=(OWN,))
    await write(scene, machine, users(SECOND) | BOTH)
    assert scene.arm.breakages == []
    scene.arm.patch_identity_as_other_deployer(machine.id, SYSTEM)
    await scene.clock.advance(60)
    (breakage,) = scene.arm.breakages
    assert (breakage.application, breakage.lost) == ("backup", True)
    assert breakage.principal == other_deployer().principal != scene.arm.options.principal_id


async def test_a_write_that_has_not_ended_or_failed_breaks_nothing(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add(identity=users(FIRST), applications=(BARE,))
    await scene.call("PATCH", machine.id, {"identity": users(SECOND)})
    assert scene.arm.breakages == []
    scene.arm.delete_vm(machine.id)
    await scene.clock.advance(200)
    assert scene.arm.breakages == []


async def test_the_admin_endpoint_names_the_breakages_of_a_machine(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add(identity=users(FIRST), applications=(BARE, OWN))
    scene.add("web-2")
    await write(scene, machine, users(SECOND))
    async with scene.session.get(f"{scene.endpoints.admin}/machines") as response:
        found = {each["id"]: each["breakages"] for each in await response.json()}
    assert {key: [each["application"] for each in value] for key, value in found.items()} == {
        machine.id: ["shop"],
        machine.id.replace("web-1", "web-2"): [],
    }


async def _play(scene: Scene, habits: Habits, hours: int = 2) -> SecondParty:
    party = SecondParty(scene.arm, habits, lambda machine: machine.name != "spared")
    party.start()
    await scene.clock.advance(hours * 3_600)
    party.stop()
    return party


async def test_a_second_party_adds_and_removes_its_own_ids_and_keeps_those_of_others(scene: Scene) -> None:
    add_all(scene)
    web = scene.add(identity=users(FIRST) | BOTH)
    bare, spared = scene.add("web-2"), scene.add("spared")
    party = await _play(scene, Habits(own=(SECOND, THIRD), every=60.0, seed=3))
    assert set(party.written) == {web.key, bare.key}
    assert party.written.total() > 50
    assert set(party.refused) <= {"Conflict"}
    assert spared.identity.type == "None"
    assert FIRST.lower() in web.identity.users
    assert web.identity.principal_id
    writes = [event for event in scene.events if event["data"]["operationName"].endswith("virtualMachines/write")]
    assert len(writes) == party.written.total()
    before = party.written.total()
    await scene.clock.advance(3_600)
    assert party.written.total() == before


async def test_a_careless_one_drops_the_ids_of_others(scene: Scene) -> None:
    add_all(scene)
    web = scene.add(identity=users(FIRST), applications=(OWN,))
    await _play(scene, Habits(own=(SECOND,), every=60.0, careless=0.5))
    assert FIRST.lower() not in web.identity.users
    assert {each.application for each in scene.arm.breakages} == {"backup"}


async def test_it_meets_the_writes_of_others_and_counts_its_refusals(scene: Scene) -> None:
    add_all(scene)
    scene.arm.identities.delete(SECOND)
    machine = scene.add()
    await scene.put_oms(machine)
    party = SecondParty(scene.arm, Habits(own=(FIRST,), every=2.0, seed=1))
    party.start()
    await scene.clock.advance(20)
    party.stop()
    assert set(party.refused) == {"Conflict"}
    refused = await _play(scene, Habits(own=(SECOND,)))
    assert set(refused.refused) == {"FailedIdentityOperation"}
    assert not refused.written
