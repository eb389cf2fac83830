"""`onboard remove`: what a person removes goes by the same way as what a policy removes, and stays away."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onboarding.cli.machines import remove
from onboarding.cli.main import main
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import OMS, POLICY, SECOND, SECOND_POLICY, START, World, extension, vm_id

NAME = "OMSExtension"
REMOVAL = OperatorRequest(extension=OMS, removal=True)
INSTALL = OperatorRequest(removal=False)
RETIRE: dict[str, Any] = {
    "name": "retire-oms",
    "effect": "removeIfExists",
    "extension": OMS,
    "existing": "enforce",
    "onlyAfter": {"policy": "inventory", "for": "24h", "proof": "arm"},
}


async def installed(world: World) -> VmId:
    vm = world.add()
    await world.created(vm)
    await world.finish_install(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    return vm


def with_agent(policies: list[dict[str, Any]], **changes: Any) -> tuple[World, VmId]:
    """A VM that somebody else has given the agent."""
    world = World(policies=policies)
    vm = world.add(**changes)
    world.arm.set_extension(vm, extension(NAME))
    return world, vm


async def removed(world: World, vm: VmId) -> None:
    await world.requests.handle(vm, REMOVAL)
    assert world.row(vm).waiting_for is WaitingFor.REMOVAL
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED


async def test_what_a_person_removes_stays_away() -> None:
    """Neither an event nor the sweep installs it again, although the policy still selects the VM."""
    world = World()
    vm = await installed(world)
    await removed(world, vm)
    row = world.row(vm)
    await world.updated(vm)
    for _ in range(3):
        world.now += timedelta(days=1)
        await world.sweep_and_reconcile()
    assert world.row(vm) == row
    assert world.arm.calls.count("PUT") == 1
    assert (row.attempt, row.step) == (1, "removal")


async def test_the_persons_removal_goes_on_in_the_function_app() -> None:
    world = World()
    vm = await installed(world)
    await world.requests.handle(vm, REMOVAL)
    world.arm.set_extension(vm, extension(NAME))  # the removal did nothing
    assert await world.run_next_check()
    assert world.row(vm).waiting_for is WaitingFor.REMOVAL
    assert world.arm.calls.count("DELETE") == 2
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED


async def test_a_person_installs_it_again() -> None:
    world = World()
    vm = await installed(world)
    await removed(world, vm)
    await world.requests.handle(vm, INSTALL)
    await world.finish_install(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_another_version_of_the_policy_installs_it_again() -> None:
    world = World()
    vm = await installed(world)
    await removed(world, vm)
    later = world.with_policies([{**POLICY, "brake": {"maxInstallsPerHour": 100}}])
    await later.sweep_and_reconcile()
    assert later.row(vm).outcome is Outcome.REMOVED, "the new version has to settle first"
    later.now += timedelta(hours=1)
    await later.sweep_and_reconcile()
    assert later.row(vm).waiting_for is WaitingFor.INSTALL


@pytest.mark.parametrize("event", [True, False], ids=["by its event", "by the sweep"])
async def test_somebody_elses_install_is_taken_as_it_is(event: bool) -> None:
    world = World()
    vm = await installed(world)
    await removed(world, vm)
    world.arm.set_extension(vm, extension(NAME))
    if event:
        await world.extension_written(vm)
    else:
        world.now += timedelta(hours=7)
        await world.sweep_and_reconcile()
    assert world.row(vm).outcome is Outcome.ALREADY_INSTALLED
    assert world.arm.calls.count("DELETE") == 1


async def test_no_policy_has_to_select_the_machine() -> None:
    world = World()
    vm = world.add(tags={"onboarding": "skip"})
    world.arm.set_extension(vm, extension(NAME))
    await removed(world, vm)


NOWHERE = {**POLICY, "scope": ["/subscriptions/00000000-0000-4000-8000-00000000beef"]}
UNREACHED: dict[str, list[dict[str, Any]]] = {
    "no policy at all": [],
    "a policy of another extension": [SECOND_POLICY],
    "a policy that is disabled": [{**POLICY, "effect": "disabled"}],
    "a policy that is not active": [{**POLICY, "activeWhen": {"unless": "OMS_WORKSPACE_ID"}}],
    "a policy of another subscription": [NOWHERE],
}


@pytest.mark.parametrize("policies", UNREACHED.values(), ids=UNREACHED)
class TestNoPolicyDecidesOnTheExtension:
    """A person removes it all the same, and every way that a policy's removal may take is open to theirs."""

    async def test_it_goes_once_and_stays_away(self, policies: list[dict[str, Any]]) -> None:
        world, vm = with_agent(policies)
        await removed(world, vm)
        row = world.row(vm)
        assert (row.policy, row.effect) == ("onboard remove", "removeIfExists")
        await world.updated(vm)
        for _ in range(3):
            world.now += timedelta(days=1)
            await world.sweep_and_reconcile()
        later = world.row(vm)
        assert (later.outcome, later.reason, later.taken_up) == (Outcome.REMOVED, row.reason, row.taken_up)
        assert world.arm.calls.count("DELETE") == 1
        assert all(body["properties"]["type"] == SECOND.type for body in world.arm.bodies)

    async def test_a_machine_that_is_stopped_is_waited_for(self, policies: list[dict[str, Any]]) -> None:
        world, vm = with_agent(policies, power="deallocated")
        await world.requests.handle(vm, REMOVAL)
        assert await world.run_next_check()
        assert world.row(vm).waiting_for is WaitingFor.VM_RUNNING
        world.arm.machines[vm.key]["properties"]["instanceView"]["statuses"][1]["code"] = "PowerState/running"
        await world.started(vm)
        assert world.row(vm).waiting_for is WaitingFor.REMOVAL
        await world.removed(vm)
        assert world.row(vm).outcome is Outcome.REMOVED

    async def test_a_removal_that_did_nothing_is_sent_again(self, policies: list[dict[str, Any]]) -> None:
        world, vm = with_agent(policies)
        await world.requests.handle(vm, REMOVAL)
        world.arm.set_extension(vm, extension(NAME))
        assert await world.run_next_check()
        assert world.arm.calls.count("DELETE") == 2
        assert "a person removes it" in world.row(vm).reason
        await world.removed(vm)
        assert world.row(vm).outcome is Outcome.REMOVED

    async def test_a_removal_that_failed_is_retried(self, policies: list[dict[str, Any]]) -> None:
        world, vm = with_agent(policies, tags={"onboarding": "skip"})
        await world.requests.handle(vm, REMOVAL)
        handler = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"
        text = f"Failed to find installed version of {handler} to uninstall"
        world.arm.set_extension(vm, extension(NAME, "Failed"), text, "ProvisioningState/failed/1")
        world.now += timedelta(minutes=5)
        await world.extension_written(vm, succeeded=False)
        assert world.row(vm).outcome is Outcome.FAILED
        await world.requests.handle(vm, OperatorRequest())
        assert world.row(vm).waiting_for is WaitingFor.REMOVAL
        await world.removed(vm)
        assert world.row(vm).outcome is Outcome.REMOVED

    async def test_nothing_is_written_where_it_is_not(self, policies: list[dict[str, Any]]) -> None:
        world = World(policies=policies)
        vm = world.add()
        assert await run(world, vm, "--yes") == 0
        assert OMS not in await world.requests.rows(vm)
        assert world.arm.calls == ["GET"]

    async def test_the_dry_run_shows_it(self, policies: list[dict[str, Any]], capsys: Any) -> None:
        world, vm = with_agent(policies)
        assert await run(world, vm, "--dry-run", "-o", "csv") == 0
        assert "web01,oms-agent-linux,remove,a person removes it" in capsys.readouterr().out
        assert world.arm.calls == ["GET"]


async def test_a_policy_that_comes_later_decides_anew() -> None:
    world = World(policies=[SECOND_POLICY])
    vm = world.add()
    world.arm.set_extension(vm, extension(NAME))
    await removed(world, vm)
    later = world.with_policies([SECOND_POLICY, {**POLICY, "existing": "enforce"}])
    await later.sweep_and_reconcile()
    later.now += timedelta(hours=1)
    await later.sweep_and_reconcile()
    assert later.row(vm).policy == "linux-monitoring"


async def test_a_person_who_names_the_extension_does_not_wait_for_another_policy() -> None:
    world = World(policies=[SECOND_POLICY, RETIRE])
    vm = world.add()
    world.arm.set_extension(vm, extension(NAME))
    await world.requests.handle(vm, OperatorRequest(policy="retire-oms", removal=True))
    assert world.row(vm).waiting_for is WaitingFor.ONLY_AFTER, "the policy's removal waits"
    await removed(world, vm)


async def test_a_person_does_not_install_what_a_policy_removes() -> None:
    world = World(policies=[{**RETIRE, "onlyAfter": None}, POLICY])
    vm = world.add()
    rows = await world.requests.handle(vm, INSTALL)
    assert OMS not in rows
    assert world.arm.calls == ["GET"]
    world.arm.set_extension(vm, extension(NAME))
    await world.requests.handle(vm, INSTALL)
    assert "DELETE" not in world.arm.calls, "who asks for an install gets no removal"


async def test_other_extensions_are_left_alone() -> None:
    world = World(policies=[POLICY, SECOND_POLICY])
    vm = await installed(world)
    await world.finish_install(vm, SECOND.name)
    calls = len(world.arm.calls)
    await removed(world, vm)
    assert world.arm.calls[calls:] == ["GET", "DELETE", "GET"]
    assert world.row(vm, SECOND.name).outcome is Outcome.INSTALLED


@pytest.mark.parametrize("existing", ["audit", "enforce"])
@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize("request_", [REMOVAL, OperatorRequest(policy="retire-oms", removal=True)])
async def test_the_agent_that_a_removal_comes_after_is_not_meant(
    request_: OperatorRequest, present: bool, existing: str
) -> None:
    """Neither is it removed nor, on a machine that nobody has taken up for its policy, installed."""
    world = World(policies=[{**SECOND_POLICY, "existing": existing}, {**RETIRE, "existing": "enforce"}])
    vm = world.add(created=START - timedelta(days=30))
    world.arm.set_extension(vm, extension(NAME))
    handler = {"publisher": SECOND.publisher, "type": SECOND.type, "typeHandlerVersion": SECOND.version}
    world.arm.set_extension(vm, extension(SECOND.resource_name, **handler))
    await world.updated(vm)
    assert world.row(vm, SECOND.name).outcome is Outcome.ALREADY_INSTALLED
    row = world.row(vm, SECOND.name)
    world.now += timedelta(days=2)
    if not present:
        world.arm.end_removal(vm, SECOND.resource_name)
    await world.requests.handle(vm, request_)
    assert world.arm.calls.count("DELETE") == (present or request_ is REMOVAL)
    assert world.arm.calls.count("PUT") == (not present and request_ is not REMOVAL and existing == "enforce")
    if present:
        assert world.row(vm, SECOND.name) == row
        assert world.row(vm).waiting_for is WaitingFor.REMOVAL


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    remove.add(parser.add_subparsers())
    return parser.parse_args(["remove", "--interval", "0", "--extension", OMS, *given])


async def run(world: World, vm: VmId, *given: str) -> int:
    return await remove.run_removal(arguments(*given), world.requests, (vm,))


async def test_the_dry_run_lists_what_would_go(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    vm = await installed(world)
    assert await run(world, vm, "--dry-run", "-o", "csv") == 0
    assert "web01,oms-agent-linux,remove,a person removes it" in capsys.readouterr().out
    assert "DELETE" not in world.arm.calls


async def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    vm = await installed(world)
    assert await run(world, vm, "--yes", "--no-wait") == 3
    world.arm.end_removal(vm, NAME)
    assert await run(world, vm, "--yes") == 0
    assert "Removed" in capsys.readouterr().out
    without = world.add("web02")
    assert await run(world, without, "--yes") == 0
    assert "web02: there is nothing to remove" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((), "give --extension NAME, or --policy NAME"),
        (("--extension", "nonsense"), "unknown extension 'nonsense'"),
        (("--extension", "oms-agent"), "known extensions"),
        (("--policy", "linux-monitoring"), "removes nothing"),
        (("--extension", OMS), "give --yes"),
        (("--extension", "azure-monitor-agent-linux"), "give --yes"),
    ],
)
def test_what_is_refused(
    given: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "linux.yaml").write_text(
        "name: linux-monitoring\nextension: oms-agent-linux\nsettings: {workspaceId: '{OMS_WORKSPACE_ID}'}\n"
        "protectedSettings: {workspaceKey: '{OMS_WORKSPACE_KEY}'}\n"
    )
    monkeypatch.setenv("ONBOARDING_POLICIES", str(policies))
    assert main(["remove", str(vm_id()), *given]) == 2
    assert says in capsys.readouterr().err
