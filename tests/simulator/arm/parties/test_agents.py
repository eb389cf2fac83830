"""An owner who removes what was installed, and a policy engine that installs again what was removed."""

from __future__ import annotations

from simulator.arm import EngineHabits, ExtensionSpec, Machine, PolicyEngine, Power, Remover, RemoverHabits
from simulator.arm.events import owner, policy_engine
from tests.simulator.conftest import OMS, WORKSPACE, Scene

HANDLER = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"
OLD = ExtensionSpec(name="OMS", version="1.3", settings={"workspaceId": WORKSPACE}, **OMS)
WITH_KEY = ExtensionSpec(
    name="FromPolicy",
    version="1.3",
    settings={"workspaceId": WORKSPACE},
    protected_settings={"workspaceKey": "c2VjcmV0LXdvcmtzcGFjZS1rZXk="},
    **OMS,
)


def installed(scene: Scene, name: str) -> Machine:
    return scene.add(name, extensions=(OLD,))


async def test_the_owner_removes_the_handler_wherever_it_is_under_any_name(scene: Scene) -> None:
    web, renamed = installed(scene, "web-1"), scene.add("web-2", extensions=(WITH_KEY,))
    bare, spared = scene.add("web-3"), installed(scene, "spared")
    party = Remover(scene.arm, RemoverHabits(handler=HANDLER, every=60.0), lambda machine: machine.name != "spared")
    party.start()
    await scene.clock.advance(3_600)
    party.stop()
    assert dict(party.written) == {web.key: 1, renamed.key: 1}
    assert [len(each.extensions) for each in (web, renamed, bare, spared)] == [0, 0, 0, 1]
    assert [event["eventType"].rpartition(".")[2] for event in scene.events] == ["ResourceDeleteSuccess"] * 2
    assert {event["data"]["authorization"]["evidence"]["principalType"] for event in scene.events} == {"User"}
    assert {gap.principal for gap in scene.arm.gaps} == {owner().principal}


async def test_it_counts_its_refusals_and_ends_with_stop(scene: Scene) -> None:
    machine = scene.add("web-1", extensions=(OLD,), power=Power.DEALLOCATED)
    party = Remover(scene.arm, RemoverHabits(handler=HANDLER, every=60.0))
    party.start()
    await scene.clock.advance(3_600)
    party.stop()
    assert set(party.refused) == {"OperationNotAllowed"}
    before = party.refused.total()
    assert before > 20
    await scene.clock.advance(3_600)
    assert (party.refused.total(), len(machine.extensions)) == (before, 1)


async def test_the_policy_engine_installs_again_what_somebody_removed_and_nothing_else(scene: Scene) -> None:
    machine, bare = installed(scene, "web-1"), scene.add("web-2")
    party = PolicyEngine(scene.arm, EngineHabits(extension=WITH_KEY, every=60.0))
    party.start()
    await scene.clock.advance(600)
    assert not party.written
    await scene.call("DELETE", f"{machine.id}/extensions/OMS")
    await scene.clock.advance(3_600)
    party.stop()
    assert dict(party.written) == {machine.key: 1}
    assert [each.name for each in machine.extensions.values()] == ["FromPolicy"]
    assert bare.extensions == {}
    removed, written = scene.events
    assert removed["data"]["authorization"]["evidence"]["principalType"] == "ServicePrincipal"
    claims = written["data"]["claims"]
    assert claims["xms_mirid"].endswith("/policyAssignments/agents")
    assert claims["http://schemas.microsoft.com/identity/claims/objectidentifier"] == policy_engine().principal
    assert "xms_mirid" not in removed["data"]["claims"]
    (gap,) = scene.arm.gaps
    assert gap.ended is not None


async def test_it_can_also_install_where_the_extension_never_was(scene: Scene) -> None:
    bare, spared = scene.add("web-1"), scene.add("spared")
    habits = EngineHabits(extension=WITH_KEY, every=60.0, everywhere=True)
    party = PolicyEngine(scene.arm, habits, lambda machine: machine.name != "spared")
    party.start()
    await scene.clock.advance(3_600)
    party.stop()
    assert [len(each.extensions) for each in (bare, spared)] == [1, 0]


async def test_both_at_once_undo_each_others_work_again_and_again(scene: Scene) -> None:
    machine = installed(scene, "web-1")
    engine = PolicyEngine(scene.arm, EngineHabits(extension=WITH_KEY, every=120.0))
    remover = Remover(scene.arm, RemoverHabits(handler=HANDLER, every=120.0))
    engine.start()
    remover.start()
    await scene.clock.advance(20_000)
    engine.stop()
    remover.stop()
    assert min(engine.written[machine.key], remover.written[machine.key]) > 10
    assert set(engine.refused) | set(remover.refused) <= {"Conflict"}
