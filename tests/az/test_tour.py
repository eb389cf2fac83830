"""Every command of the tour does here what it does against Azure: exit code, JSON and table, waiting for operations.

What the CLI sent is compared with the recording that is sent again where the CLI is not installed. With `AZ_RECORD=1`
the recording is written anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simulator.laptop import ROOT
from tests.az.conftest import Cloud, Printed
from tests.az.recorder import CliRequest, line_of, read_recording
from tests.az.scenery import RULE, WORKSPACE_ID, WORKSPACE_KEY
from tests.az.tour import TOUR, Step

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDING = ROOT / "tests" / "simulator" / "az" / "az_recording.jsonl"
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
# the extension of the document, whose two forms differ in type and name
EXTENSION: dict[str, Any] = {
    "apiVersion": "2015-06-15",
    "location": "westeurope",
    "dependsOn": [],
    "properties": {
        "publisher": "Microsoft.EnterpriseCloud.Monitoring",
        "type": "OmsAgentForLinux",
        "typeHandlerVersion": "1.3",
        "settings": {"workspaceId": WORKSPACE_ID},
        "protectedSettings": {"workspaceKey": "[parameters('key')]"},
    },
}
VM = "Microsoft.Compute/virtualMachines"


def templates(folder: Path) -> dict[str, str]:
    """The files of the tour's templates, by name."""
    nested = EXTENSION | {"type": "extensions", "name": "OMSExtension", "dependsOn": [f"[concat('{VM}/', 'by-nest')]"]}
    machine = {"type": VM, "name": "by-nest", "apiVersion": "2024-07-01", "location": "westeurope"}
    files = {
        "root": template(EXTENSION | {"type": f"{VM}/extensions", "name": "by-root/OMSExtension"}),
        "nested": template({**machine, "resources": [nested]}),
        "bad": template({"type": "Microsoft.Web/sites", "name": "x", "apiVersion": "2024-04-01"}, parameters={}),
        "onboard": printed_template(),
    }
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text, "utf-8")
    return {name: str(folder / f"{name}.json") for name in files}


def template(*resources: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> str:
    declared = {"key": {"type": "securestring"}} if parameters is None else parameters
    body = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "parameters": declared, "resources": list(resources)}
    return json.dumps(body, indent=2)


def printed_template() -> str:
    chosen = "--policy azure-monitor --extension azure-monitor-agent-linux --vm by-onboard"
    environment = {"DATA_COLLECTION_RULE_ID": RULE, "PATH": os.environ["PATH"]}
    words = [sys.executable, "-m", "onboarding", "template", "--placement", "root", "--complete", *chosen.split()]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def contains(found: Any, wanted: Any, place: str = "") -> None:
    """Assert that all parts of `wanted` are in `found`."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), f"{place}: {found!r}"
        for name, value in wanted.items():
            assert name in found, f"{place}: no {name} in {sorted(found)}"
            contains(found[name], value, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), f"{place}: {found!r}"
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            contains(one, other, f"{place}[{number}]")
    else:
        assert found == wanted, f"{place}: {found!r}"


async def run_step(cloud: Cloud, step: Step, files: Mapping[str, str]) -> list[CliRequest]:
    """Run the command, and again for its table, if one is expected; returns what its first form sent."""
    done = await cloud.az(step.line, **files)
    sent = cloud.recorder.take()
    check(step, done)
    if step.table:
        table = await cloud.az(f"{step.line} -o table", **files)
        assert (table.code, table.head) == (step.code, step.table), f"az {step.line} -o table\n{table.err}"
        cloud.recorder.take()
    return sent


def check(step: Step, done: Printed) -> None:
    assert done.code == step.code, f"az {step.line}: {done.code}\n{done.out}{done.err}"
    if step.json is not None:
        contains(done.json, step.json, f"az {step.line}")
    for text in step.says:
        assert text in done.out + done.err, f"az {step.line}\n{done.out}{done.err}"


async def test_every_command_behaves_as_against_azure(cloud: Cloud, tmp_path: Path) -> None:
    files = templates(tmp_path)
    cloud.recorder.take()
    recording = [(step.line, await run_step(cloud, step, files)) for step in TOUR]
    if os.environ.get("AZ_RECORD"):
        RECORDING.write_text("".join(f"{line_of(command, sent)}\n" for command, sent in recording), "utf-8")
    for (command, sent), (recorded_command, recorded) in zip(recording, read_recording(RECORDING), strict=True):
        assert command == recorded_command
        same = len(sent) == len(recorded) and all(map(CliRequest.same_question, sent, recorded))
        assert same, f"az {command} asks otherwise than recorded: {sent}; AZ_RECORD=1 records anew"
    assert WORKSPACE_KEY not in "".join(cloud.az.everything)


async def test_nothing_was_sent_to_the_internet_but_the_newest_version(cloud: Cloud) -> None:
    """The CLI looks for it once a day, and no setting turns that off."""
    assert (await cloud.az("account show")).code == 0
    assert {line.split()[1] for line in cloud.trap.sent} <= {"azcliprod.blob.core.windows.net:443"}


async def test_nothing_was_sent_that_the_simulator_does_not_know(cloud: Cloud) -> None:
    unknown = [f"{each.method} {each.path}" for each in cloud.arm.requests.select(kind="unknown")]
    assert unknown == []
