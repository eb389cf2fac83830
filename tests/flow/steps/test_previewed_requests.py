"""`onboard install --dry-run` and `--show-az` know identity and associations, as ARM shows them."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.resource_id import VmId
from tests.flow.commands.test_install import installed
from tests.flow.steps.test_azure_monitor import AMA, ENDPOINT, FOREIGN, OURS, RULE, SYSTEM, add, equip, world_of
from tests.flow.world import World


async def preview(world: World, vm: VmId, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    await installed(world, "--dry-run", "-o", "json", vms=(vm,))
    (line,) = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def states(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["step"], step["state"]) for step in found["steps"]]


async def test_a_dry_run_reads_the_associations_and_says_what_would_be_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = world_of(AMA_IDENTITY_ID=OURS)
    vm = add(world)
    found = await preview(world, vm, capsys)
    assert found["would"] == "install"
    assert states(found) == [("identity", "planned"), ("association", "planned"), ("extension", "planned")]
    assert world.arm.calls == ["GET", "LIST associations"]
    assert not world.ledger.rows


async def test_what_is_there_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    world = world_of()
    vm = add(world, SYSTEM)
    equip(world, vm)
    found = await preview(world, vm, capsys)
    assert (found["would"], {state for _, state in states(found)}) == ("leave", {"done"})


async def test_associations_that_may_not_be_listed_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    world = world_of()
    vm = add(world, SYSTEM)
    world.arm.association_errors.append(Evidence(code="AuthorizationFailed", http_status=403))
    assert ("association", "unknown") in states(await preview(world, vm, capsys))


async def test_an_identity_that_may_not_be_added_is_refused_with_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    world = world_of({"identity": {"use": "added", "add": OURS}})
    vm = add(world, {"type": "UserAssigned", "userAssignedIdentities": {FOREIGN: {}}})
    found = await preview(world, vm, capsys)
    assert found["would"] == "refuse (Failed)"
    assert "besideOthers" in found["because"]
    assert states(found)[0] == ("identity", "refused")


async def test_the_az_commands_are_the_writes_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    world = world_of(AMA_IDENTITY_ID=OURS, DATA_COLLECTION_ENDPOINT_ID=ENDPOINT)
    vm = add(world)
    assert await installed(world, "--dry-run", "--show-az", vms=(vm,)) == 0
    out = capsys.readouterr().out
    commands = [shlex.split(each.replace("\\\n", "")) for each in out.split("\n\n") if each.startswith("az ")]
    assert [command[1:4] for command in commands] == [
        ["vm", "identity", "assign"],
        ["rest", "--method", "put"],
        ["rest", "--method", "put"],
        ["vm", "extension", "set"],
    ]
    assert commands[0][4:] == ["--ids", str(vm), "--identities", OURS]
    url, body = commands[1][5], json.loads(commands[1][7])
    assert url.startswith(f"{vm}/providers/Microsoft.Insights/dataCollectionRuleAssociations/")
    assert body["properties"]["dataCollectionRuleId"] == RULE
    assert commands[2][5].partition("?")[0].endswith("/configurationAccessEndpoint")
    assert AMA in out
    assert {"associate", "weu,"} <= set(out.rpartition("\n\n")[2].split()), "the table follows the commands"


async def test_the_system_identity_is_called_as_az_calls_it(capsys: pytest.CaptureFixture[str]) -> None:
    world = world_of()
    vm = add(world)
    await installed(world, "--dry-run", "--show-az", vms=(vm,))
    assert "--identities '[system]'" in capsys.readouterr().out
