"""Managed and short-lived machines: events, `policy plan`, `explain` and `validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.main import main
from onboarding.domain.reconcile.row import Outcome
from tests.flow.world import POLICY, World, extension, vm_body, vm_id
from tests.shared_samples import needs_samples, read_lines

NODE = {"kubernetes.io_cluster.blue-x7k2p": "owned"}
BUILD = {"createdBy": "AzureVMImageBuilder"}
CASES = [case for case in read_lines("field/plan.jsonl") if case["kind"] == "B"]


def policy(**changes: Any) -> dict[str, Any]:
    return {**POLICY, "rule": None, **changes}


@pytest.mark.parametrize(
    ("include", "taken"),
    [(None, []), (["openshift-node"], ["node"]), ("image-builder", ["build"]), (True, ["build", "node"])],
    ids=str,
)
async def test_a_policy_takes_in_the_kinds_that_it_names_and_no_other(include: object, taken: list[str]) -> None:
    world = World(policies=[policy(includeManaged=include)])
    rows = {}
    for name, tags in (("node", NODE), ("build", BUILD)):
        vm = world.add(name)
        world.arm.machines[vm.key] = vm_body(name, tags=tags)
        await world.created(vm)
        rows[name] = world.row(vm)
    assert sorted(name for name, row in rows.items() if row.outcome is Outcome.REQUESTED) == taken
    for name, row in rows.items():
        assert name in taken or row.outcome is Outcome.OUT_OF_SCOPE


async def test_the_row_names_the_platform_the_evidence_and_the_fix() -> None:
    world = World()
    vm = world.add()
    world.arm.machines[vm.key] = vm_body(tags=NODE)
    await world.created(vm)
    assert world.row(vm).reason == (
        "policy linux-monitoring excludes it: it is a node of OpenShift"
        " (tag kubernetes.io_cluster.blue-x7k2p: owned); includeManaged: [openshift-node] would include it"
    )
    assert world.arm.calls == ["GET"]


async def test_a_machine_that_is_found_to_be_managed_after_its_install_is_out_of_scope() -> None:
    """Nothing is removed from it, and its row ends as for any other change of scope."""
    ends = []
    for tags in (NODE, {"onboarding": "skip"}):
        world = World()
        vm = world.add()
        world.arm.set_extension(vm, extension())
        await world.created(vm)
        assert world.row(vm).outcome is Outcome.ALREADY_INSTALLED
        world.arm.machines[vm.key]["tags"] = tags
        await world.updated(vm)
        ends.append((world.row(vm).outcome, list(world.arm.calls)))
    assert ends[0] == ends[1]
    assert "DELETE" not in ends[0][1]


async def test_a_managed_machine_that_is_deleted_is_gone() -> None:
    world = World()
    vm = world.add()
    world.arm.machines[vm.key] = vm_body(tags=NODE)
    await world.created(vm)
    del world.arm.machines[vm.key]
    await world.deleted(vm)
    assert world.row(vm).outcome is Outcome.GONE


def lay_out(folder: Path, body: dict[str, Any], **changes: Any) -> list[str]:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "p.yaml").write_text(yaml.safe_dump(policy(**changes)))
    (folder / "vm.json").write_text(json.dumps([body]))
    return ["--policies", str(folder / "policies"), "--format", "json"]


@pytest.mark.parametrize(("include", "decision"), [(None, "OutOfScope"), (["openshift-node"], "Install")])
def test_plan_and_explain_give_the_same_result_offline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], include: object, decision: str
) -> None:
    options = lay_out(tmp_path, vm_body("node", tags=NODE), includeManaged=include)
    assert main(["policy", "plan", "--vm-list", str(tmp_path / "vm.json"), *options]) == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert (change["vm"], change["after"]["decision"]) == (str(vm_id("node")), decision)
    main(["policy", "explain", "--vm", str(tmp_path / "vm.json"), *options])
    output = capsys.readouterr().out
    assert ("it is a node of OpenShift" in output) is (decision == "OutOfScope")


def test_a_flat_body_of_the_azure_cli_is_recognised_as_managed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = vm_body("pkrvm7")
    flat = {key: value for key, value in body.items() if key != "properties"} | body["properties"]
    flat |= {"resourceGroup": "APP-RG", "osProfile": {"adminUsername": "packer"}}
    options = lay_out(tmp_path, flat)
    assert main(["policy", "plan", "--vm-list", str(tmp_path / "vm.json"), *options]) == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert change["after"]["decision"] == "OutOfScope"


def test_validate_refuses_an_unknown_kind_and_names_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path, {}, includeManaged=["aks-nodes"])
    assert main(["policy", "validate", str(tmp_path / "policies")]) == 1
    output = "".join(capsys.readouterr())
    assert "unknown kind 'aks-nodes' (" in output
    assert ": includeManaged[0]); write" in output
    assert "known kinds: karpenter-node, " in output


@needs_samples
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_managed_machines_of_the_field_samples_are_left_alone(
    case: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in case["files"].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    options = ["--vm-list", str(tmp_path / case["vms"]), "--policies", str(tmp_path / "policies"), "--format", "json"]
    assert main(["policy", "plan", *options, "--all"]) == 0
    decided = {
        change["vm"].rpartition("/")[2]: change["after"]["decision"]
        for change in json.loads(capsys.readouterr().out)["changes"]
    }
    assert any(all(decided[name] in allowed for name, allowed in want["decisions"].items()) for want in case["want"])


@needs_samples
def test_the_field_samples_hold_machines() -> None:
    assert len(CASES) >= 4
