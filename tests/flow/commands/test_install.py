"""`onboard install` and `retry`: what they print, and their exit codes."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from onboarding.cli.machines import install, retry
from onboarding.cli.main import main
from onboarding.cli.vm_arguments import read_vms
from onboarding.domain.resource_id import VmId
from tests.flow.world import BIONIC, WORKSPACE_ID, WORKSPACE_KEY, World, extension, vm_id

CUSTOM = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/i"}


@pytest.fixture
def world() -> World:
    return World()


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    install.add(commands)
    retry.add(commands)
    return parser.parse_args(given)


async def installed(world: World, *given: str, vms: tuple[VmId, ...]) -> int:
    return await install.run_requests(arguments("install", "--interval", "0", *given), world.requests, vms)


async def test_exit_code_0_means_that_all_are_onboarded(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    vm = world.add()
    world.arm.after_put = lambda: _at_once(world, vm)
    assert await installed(world, vms=(vm,)) == 0
    output = capsys.readouterr()
    assert "Installed" in output.out
    assert "web01: Requested" in output.err or "web01: Installed" in output.err


async def _at_once(world: World, vm: VmId) -> None:
    world.arm.set_extension(vm, extension())


@pytest.mark.parametrize(
    ("given", "code"),
    [(("--no-wait",), 3), (("--timeout", "0.05"), 3)],
)
async def test_exit_code_3_means_that_some_are_not_finished(world: World, given: tuple[str, ...], code: int) -> None:
    assert await installed(world, *given, vms=(world.add(),)) == code


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": BIONIC}, "18.04"),
        ({"tags": {"onboarding": "skip"}}, "onboarding"),
        ({"image": CUSTOM}, "Undetermined"),
    ],
)
async def test_exit_code_1_means_that_some_are_refused(
    world: World, changes: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = world.add("good"), world.add("bad", **changes)
    world.arm.set_extension(good, extension())
    assert await installed(world, vms=(good, bad)) == 1
    assert says in capsys.readouterr().out
    assert world.arm.calls.count("PUT") == 0


async def test_a_vm_that_is_not_there_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert await installed(world, vms=(vm_id("nobody"),)) == 1
    assert "nobody: ARM said 404 ResourceNotFound" in capsys.readouterr().err


async def test_a_dry_run_shows_what_would_be_done(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert await installed(world, "--dry-run", vms=(world.add("a"),)) == 0
    assert await installed(world, "--dry-run", vms=(world.add("a"), world.add("b", image=BIONIC))) == 1
    out = capsys.readouterr().out
    assert "refuse (Unsupported)" in out
    assert world.arm.calls.count("PUT") == 0
    assert not world.ledger.rows


async def test_the_reason_of_a_dry_run_is_whole_below_a_long_name(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "web-" + 60 * "x"
    assert await installed(world, "--dry-run", vms=(world.add(name),)) == 0
    _, line, reason = capsys.readouterr().out.splitlines()
    assert line.split() == [name, "oms-agent-linux", "install"]
    assert reason.strip() == "policy linux-monitoring selects it, and the OS supports it"


async def test_the_equivalent_az_command_is_that_of_the_document(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await installed(world, "--dry-run", "--show-az", vms=(world.add(),)) == 0
    out = capsys.readouterr().out
    assert WORKSPACE_KEY not in out
    command = out.partition("\n\n")[0].replace("\\\n", "").split()
    for option, value in {
        "--resource-group": "app-rg",
        "--vm-name": "web01",
        "--name": "OmsAgentForLinux",
        "--publisher": "Microsoft.EnterpriseCloud.Monitoring",
        "--version": "1.3",
    }.items():
        assert command[command.index(option) + 1] == value
    assert """--protected-settings '{"workspaceKey": "<workspaceKey>"}'""" in out
    assert f"""--settings '{{"workspaceId": "{WORKSPACE_ID}"}}'""" in out


async def test_json_output_is_the_rows(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    vm = world.add()
    world.arm.set_extension(vm, extension())
    assert await installed(world, "-o", "json", vms=(vm,)) == 0
    assert json.loads(capsys.readouterr().out)["Outcome"] == "AlreadyInstalled"


async def test_retry_selects_failed_rows(world: World) -> None:
    vm = world.add()
    world.arm.set_extension(
        vm, extension(state="Failed"), "Install failed with exit code 62", "ProvisioningState/failed/1"
    )
    await world.created(vm)
    other = world.add("fine")
    world.arm.set_extension(other, extension())
    await world.created(other)
    args = arguments("retry", "--subscription", vm.subscription)
    assert await world.requests.select(retry.selection(args)) == (vm,)


def vms_of(*given: str, **environment: str) -> tuple[str, ...]:
    return tuple(map(str, read_vms(arguments("install", *given), environment)))


def test_vms_are_named_by_id_or_by_name_and_group() -> None:
    named = str(VmId("s-1", "rg", "a"))
    assert vms_of(named, named.upper()) == (named,)
    assert vms_of("-g", "rg", "-n", "a", "--subscription", "s-1") == (named,)
    assert vms_of("a", "-g", "rg", AZURE_SUBSCRIPTION_ID="s-1") == (named,)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["web01"], "add -g GROUP"),
        (["-g", "rg", "-n", "a"], "--subscription"),
        (
            ["/subscriptions/s/resourceGroups/g"],
            "'/subscriptions/s/resourceGroups/g' is not the id of a VM (VM 1); write",
        ),
        ([], "no VM is named"),
    ],
)
def test_an_argument_that_is_not_a_vm_is_reported(
    given: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", *given]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "name VMs, or select rows"),
        (["--force"], "give --all"),
        (["--all", str(vm_id())], "--all means the whole table, and a part of it is named (--all); remove"),
        (["--all", "-g", "app-rg"], "--all means the whole table, and a part of it is named (--all); remove"),
    ],
)
def test_a_retry_without_a_selection_is_refused(
    given: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retry", *given]) == 2
    assert says in capsys.readouterr().err


async def test_a_retry_of_a_policy_selects_the_rows_of_that_policy(world: World) -> None:
    vm = world.add()
    world.arm.set_extension(
        vm, extension(state="Failed"), "Install failed with exit code 62", "ProvisioningState/failed/1"
    )
    await world.created(vm)
    selected = retry.selection(arguments("retry", "--subscription", vm.subscription))
    assert await world.requests.select(selected, "linux-monitoring") == (vm,)
    assert await world.requests.select(selected, "another") == ()
