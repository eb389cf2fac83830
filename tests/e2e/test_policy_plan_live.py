"""`onboard policy plan --live`: it reads the VMs from the simulated Azure, and shows what would be done."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from simulator.arm import ArmSimulator, ExtensionSpec, Guest, HandlerRun, Options, Power, VmSpec
from simulator.clock import Clock

SUBSCRIPTION, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
POLICY = """
name: linux
extension: oms-agent-linux
scope: [/subscriptions/00000000-0000-4000-8000-000000000001]
rule: {field: name, notLike: "out-*"}
settings: {workspaceId: "{OMS_WORKSPACE_ID}"}
protectedSettings: {workspaceKey: "{OMS_WORKSPACE_KEY}"}
"""
HANDLER: dict[str, Any] = {
    "publisher": "Microsoft.EnterpriseCloud.Monitoring",
    "type": "OmsAgentForLinux",
    "version": "1.3",
    "settings": {"workspaceId": "6f680a37-00c6-41c7-a93f-1437e3462574"},
}
FAILED = ExtensionSpec(name="OMSExtension", **HANDLER, failed_with=HandlerRun(exit_code=10))
READY = Guest(agent_delay=0)
NEW = VmSpec(name="new-01", guest=READY)
FLEET = [
    (NEW, "Install"),
    (VmSpec(name="asleep-01", power=Power.DEALLOCATED), "Waiting"),
    (VmSpec(name="out-01", guest=READY), "OutOfScope"),
    (VmSpec(name="by-hand-01", guest=READY, extensions=(ExtensionSpec(name="mine", **HANDLER),)), "AlreadyInstalled"),
    (VmSpec(name="failed-01", guest=READY, extensions=(FAILED,)), "Failed"),
]
ELSEWHERE = VmSpec(name="elsewhere-01", subscription=OTHER, guest=READY)

type Cloud = tuple[ArmSimulator, dict[str, str]]


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    simulator = ArmSimulator(Clock(scale=3000), options=Options(subscriptions=(SUBSCRIPTION, OTHER), page_size=2))
    endpoints = await simulator.start()
    for spec in (*(spec for spec, _ in FLEET), ELSEWHERE):
        simulator.add_vm(spec)
    yield simulator, endpoints.environment()
    await simulator.stop()


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "linux.yaml").write_text(POLICY)
    return tmp_path / "policies"


async def plan(policies: Path, environment: dict[str, str], *arguments: str, given: str = "") -> tuple[int, Any, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onboarding", "policy", "plan", "--live", "--policies", str(policies)),
        *("--format", "json", *arguments),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(given.encode())
    return process.returncode or 0, json.loads(out) if out else None, err.decode()


def decisions(plan_json: Any) -> dict[str, str]:
    return {change["vm"].rpartition("/")[2]: change["after"]["decision"] for change in plan_json["changes"]}


async def test_each_vm_that_a_policy_reaches_is_read_once(cloud: Cloud, policies: Path) -> None:
    simulator, environment = cloud
    code, plan_json, err = await plan(policies, environment)
    assert (code, err) == (0, "")
    assert decisions(plan_json) == {**{spec.name: word for spec, word in FLEET}, "elsewhere-01": "OutOfScope"}
    assert simulator.requests.kinds()["vm-get"] == len(FLEET)
    assert simulator.requests.kinds(vm=ELSEWHERE.id)["vm-get"] == 0
    assert simulator.requests.kinds()["extension-put"] == 0


async def test_one_subscription_alone(cloud: Cloud, policies: Path) -> None:
    _, environment = cloud
    code, plan_json, _ = await plan(policies, environment, "--subscription", OTHER)
    assert (code, decisions(plan_json)) == (0, {"elsewhere-01": "OutOfScope"})


async def test_the_vms_of_a_list_are_read_and_what_is_gone_is_unknown(cloud: Cloud, policies: Path) -> None:
    simulator, environment = cloud
    gone = VmSpec(name="gone-01")
    listed = "\n".join(json.dumps({"id": spec.id, "name": spec.name}) for spec in (NEW, gone, NEW))
    code, plan_json, err = await plan(policies, environment, "--vm-list", "-", given=listed)
    assert (code, decisions(plan_json)) == (1, {"new-01": "Install", "gone-01": "unknown"})
    assert f"{gone.id}: ARM knows no such VM" in err
    assert simulator.requests.kinds()["vm-get"] == 2


async def test_a_missing_login_is_reported(cloud: Cloud, policies: Path, tmp_path: Path) -> None:
    _, environment = cloud
    signed_out = {**environment, "IDENTITY_ENDPOINT": "", "IDENTITY_HEADER": "", "AZURE_CONFIG_DIR": str(tmp_path)}
    code, plan_json, err = await plan(policies, signed_out)
    assert (code, plan_json) == (2, None)
    assert "`az login`" in err
    assert "Traceback" not in err


async def test_a_subscription_that_is_not_shown_is_named(cloud: Cloud, policies: Path) -> None:
    _, environment = cloud
    unknown = "00000000-0000-4000-8000-000000000009"
    code, plan_json, err = await plan(policies, environment, "--subscription", unknown)
    assert (code, plan_json) == (2, None)
    assert unknown in err


async def test_a_wrong_endpoint_is_named(policies: Path) -> None:
    code, plan_json, err = await plan(policies, {"ARM_ENDPOINT": "http://127.0.0.1"})
    assert (code, plan_json) == (2, None)
    assert "the value is not an https URL (app setting ARM_ENDPOINT); write https://" in err
