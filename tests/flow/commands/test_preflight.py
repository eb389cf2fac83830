"""Wrong settings or a wrong login end a command before it writes anything, so that they never become an outcome of a
VM."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onboarding.app import read_configuration
from onboarding.application.operator_requests import NoAccess, check_access, check_any_access
from onboarding.cli.io import CommandFailed
from onboarding.cli.machines import install, retry
from onboarding.cli.main import main
from onboarding.cli.operations.preflight import access_problem, check_configuration
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from tests.flow.world import POLICY, SUBSCRIPTION, WORKSPACE_ID, WORKSPACE_KEY, World, extension

TENANT = "72f988bf-0000-4000-8000-00000000a3c1"
NO_TOKEN = Evidence(code="TokenUnavailable", message="no token: nobody is signed in\nAttempted credentials: …")
OTHER_TENANT = Evidence(
    http_status=401,
    code="InvalidAuthenticationTokenTenant",
    message="The access token is from the wrong issuer 'https://sts.windows.net/other/'. It must match the tenant "
    f"'https://sts.windows.net/{TENANT}/' associated with this subscription.",
)
EXPIRED = Evidence(http_status=401, code="ExpiredAuthenticationToken", message="The access token expiry UTC time …")
FORBIDDEN = Evidence(
    http_status=403,
    code="AuthorizationFailed",
    message="The client 'a' with object id 'a' does not have authorization to perform action "
    "'Microsoft.Compute/virtualMachines/read' over scope '/subscriptions/s' or the scope is invalid.",
)
UNKNOWN = Evidence(http_status=404, code="SubscriptionNotFound", message="The subscription 's' could not be found.")
NO_ANSWER = Evidence(code="ServiceRequestError", message="Cannot connect to host management.azure.com:443")
SETTINGS = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "OMS_WORKSPACE_ID": WORKSPACE_ID,
    "OMS_WORKSPACE_KEY": WORKSPACE_KEY,
}


@pytest.fixture
def world() -> World:
    return World()


async def failed(world: World) -> VmId:
    """Add a VM whose row is final."""
    vm = world.add()
    broken = extension(state="Failed")
    world.arm.set_extension(vm, broken, "Install failed with exit code 62", "ProvisioningState/failed/1")
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.FAILED
    world.now += timedelta(minutes=1)
    return vm


def written(world: World) -> tuple[Any, ...]:
    """Everything that was written to table and queue."""
    return (
        dict(world.ledger.rows),
        dict(world.ledger.log),
        list(world.schedule_queue.checks),
        dict(world.breakers.stored),
        dict(world.rollouts.stored),
    )


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    install.add(commands)
    retry.add(commands)
    return parser.parse_args(given)


@pytest.mark.parametrize("evidence", [NO_TOKEN, OTHER_TENANT, EXPIRED, UNKNOWN, NO_ANSWER], ids=lambda e: e.code)
@pytest.mark.parametrize("command", ["install", "retry"])
async def test_a_person_whom_arm_refuses_writes_nothing(world: World, command: str, evidence: Evidence) -> None:
    vm = await failed(world)
    before = written(world)
    world.arm.access_errors = [evidence]
    world.arm.read_errors = [evidence]
    with pytest.raises(NoAccess):
        await install.run_requests(arguments(command, str(vm), "--no-wait"), world.requests, (vm,))
    assert written(world) == before


async def test_the_access_to_each_subscription_is_checked_once(world: World) -> None:
    vms = [world.add("a"), world.add("b")]
    await world.requests.check_access(vms)
    assert world.arm.checked == [SUBSCRIPTION]


async def test_a_role_on_less_than_the_subscription_is_enough(world: World) -> None:
    world.arm.access_errors = [FORBIDDEN]
    await check_access(world.arm, [SUBSCRIPTION])
    world.arm.access_errors = [FORBIDDEN]
    world.arm.subscriptions = ()
    with pytest.raises(NoAccess):
        await check_access(world.arm, [SUBSCRIPTION])


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_arm_is_no_reason_to_refuse(world: World, status: int) -> None:
    world.arm.access_errors = [Evidence(http_status=status, code="x")]
    await check_access(world.arm, [SUBSCRIPTION])


async def test_a_person_who_sees_no_subscription_is_refused(world: World) -> None:
    await check_any_access(world.arm)
    world.arm.subscriptions = ()
    with pytest.raises(NoAccess):
        await check_any_access(world.arm)


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        (NO_TOKEN, ["not signed in", "nobody is signed in", "`az login`", "AZURE_CLIENT_ID"]),
        (OTHER_TENANT, ["another tenant", f"`az login --tenant {TENANT}`", "`az account set"]),
        (EXPIRED, ["ExpiredAuthenticationToken", "`az login`"]),
        (FORBIDDEN, [SUBSCRIPTION, "VM Onboarding Machines", "Virtual Machine Contributor"]),
        (UNKNOWN, [SUBSCRIPTION, "`az account list`", "`az login --tenant TENANT`"]),
        (NO_ANSWER, ["https://arm.example", "Cannot connect", "SSL_CERT_FILE", "HTTPS_PROXY"]),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_a_refusal_says_how_to_fix_it(evidence: Evidence, says: list[str]) -> None:
    configuration = read_configuration({**SETTINGS, "ARM_ENDPOINT": "https://arm.example"})
    text = access_problem(NoAccess(SUBSCRIPTION, ArmError(evidence)), configuration)
    assert [each for each in says if each not in text] == []
    assert "nothing was written" in text
    assert "Attempted credentials" not in text


async def test_a_login_that_ends_while_a_person_waits_changes_nothing(world: World) -> None:
    vm = world.add()
    await world.requests.handle(vm, OperatorRequest())
    before = written(world)
    world.now += timedelta(seconds=10)
    world.arm.read_errors = [FORBIDDEN]
    with pytest.raises(ArmError):
        await world.requests.follow(vm)
    assert written(world) == before


async def test_a_right_that_is_missing_for_the_install_opens_no_breaker_while_a_person_waits(world: World) -> None:
    vm = world.add(power="deallocated")
    await world.requests.handle(vm, OperatorRequest())
    assert world.row(vm).outcome is Outcome.WAITING
    world.add()
    world.now += timedelta(seconds=10)
    world.arm.install_errors = [FORBIDDEN]
    with pytest.raises(ArmError):
        await world.requests.follow(vm)
    assert not world.breakers.stored
    assert not world.row(vm).outcome.final


async def test_the_rows_of_a_vm_that_cannot_be_followed_are_shown(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    vm = world.add()

    async def revoked() -> None:
        world.arm.read_errors = [EXPIRED]

    world.arm.after_put = revoked
    args = arguments("install", str(vm), "--interval", "0", "--timeout", "60")
    assert await install.run_requests(args, world.requests, (vm,)) == 3
    output = capsys.readouterr()
    assert "Requested" in output.out
    assert "web01: cannot be followed any further" in output.err


async def test_of_several_vms_one_that_the_person_may_not_read_is_named(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = world.add("first"), world.add("second")
    world.arm.set_extension(second, extension())
    world.arm.read_errors = [FORBIDDEN]
    assert await install.run_requests(arguments("install", "--no-wait"), world.requests, (first, second)) == 1
    output = capsys.readouterr()
    assert "first: ARM said 403 AuthorizationFailed" in output.err
    assert "Nothing was written." in output.err
    assert "AlreadyInstalled" in output.out


async def test_exit_code_2_means_that_the_person_has_no_access(world: World) -> None:
    vm = world.add()
    world.arm.read_errors = [FORBIDDEN]
    assert await install.run_requests(arguments("install", "--no-wait"), world.requests, (vm,)) == 2
    assert not world.ledger.rows


def checked(policy: str = "", **settings: str) -> None:
    check_configuration(read_configuration({**SETTINGS, **settings}), policy)


@pytest.mark.parametrize("name", ["OMS_WORKSPACE_ID", "OMS_WORKSPACE_KEY", "AzureWebJobsStorage"])
def test_a_setting_that_is_missing_is_named(name: str) -> None:
    checked()
    with pytest.raises(CommandFailed, match=name):
        checked(**{name: ""})


def test_settings_of_other_policies_do_not_matter_where_one_is_named(tmp_path: Path) -> None:
    for name, setting in (("mine", "OMS_WORKSPACE_ID"), ("theirs", "THEIR_WORKSPACE_ID")):
        policy = {**POLICY, "name": name, "settings": {"workspaceId": f"{{{setting}}}"}}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(policy))
    folder = str(tmp_path)
    checked("mine", ONBOARDING_POLICIES=folder)
    for named in ("", "theirs"):
        with pytest.raises(CommandFailed, match="THEIR_WORKSPACE_ID"):
            checked(named, ONBOARDING_POLICIES=folder)
    (tmp_path / "broken.yaml").write_text("name: [")
    with pytest.raises(CommandFailed, match=r"broken\.yaml"):
        checked("mine", ONBOARDING_POLICIES=folder)


NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;" + ";".join(
    f"{service}Endpoint=http://127.0.0.1:9/a" for service in ("Table", "Queue")
)
VM = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web01"
WRITERS: Mapping[str, list[str]] = {
    "install": ["install", VM, "--no-wait"],
    "retry": ["retry", VM, "--no-wait"],
    "sweep": ["sweep"],
    "resume": ["policy", "resume", "linux-monitoring"],
    "poison": ["replay", "--poison"],
    "status": ["status"],
}


@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
def test_storage_that_does_not_answer_is_named_with_its_address(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SETTINGS, "AzureWebJobsStorage": NOWHERE}.items():
        monkeypatch.setenv(name, value)
    assert main(command) == 2
    output = capsys.readouterr().err
    assert "storage at http://127.0.0.1:9/a: does not answer" in output
    assert "AzureWebJobsStorage" in output
    assert "c2VjcmV0" not in output


@pytest.mark.parametrize("command", [WRITERS[name] for name in ("install", "retry", "sweep")], ids=str)
def test_a_missing_setting_ends_a_command_at_once(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SETTINGS, "AzureWebJobsStorage": NOWHERE, "OMS_WORKSPACE_ID": ""}.items():
        monkeypatch.setenv(name, value)
    assert main(command) == 2
    assert "app setting OMS_WORKSPACE_ID is not set" in capsys.readouterr().err
