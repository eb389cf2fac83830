"""The commands of docs/by-hand.md on real parts: Azurite and the simulated ARM. Each command is a process of its own.
No function app runs, so only the commands can have done the work."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from onboarding.cli.main import main
from simulator.arm import ExtensionSpec, Guest, HandlerRun, Machine, Power, VmSpec
from simulator.laptop import ROOT, CloudOptions, Laptop
from tests.flow.commands.test_errors import DOCUMENT

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCALE = 3000
LISTED = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
CENTOS = Guest(os_name="centos", os_version="7.9", agent_delay=0)
OMS: dict[str, Any] = {"publisher": "Microsoft.EnterpriseCloud.Monitoring", "type": "OmsAgentForLinux"}


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str
    err: str


@dataclass
class Operator:
    """Runs commands. `everything` is the output of all of them."""

    laptop: Laptop
    environment: Mapping[str, str]
    settings: Path
    everything: list[str] = field(default_factory=list)

    def add(self, name: str, **spec: Any) -> Machine:
        usual: dict[str, Any] = {"group": f"rg-{name}", "image": LISTED, "guest": CENTOS}
        return self.laptop.arm.add_vm(VmSpec(name=name, **(usual | spec)))

    async def onboard(self, *arguments: str, text: str = "", debug: bool = True, **environment: str) -> CommandResult:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "onboarding", *(["--debug"] if debug else []), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**self.environment, **environment},
        )
        out, err = await process.communicate(text.encode())
        self.everything += [out.decode(), err.decode()]
        return CommandResult(process.returncode or 0, out.decode(), err.decode())

    def status(self, vm: str) -> str:
        """The text output of `status`. It runs in this process, because it needs no TLS and is called often."""
        values = {"AzureWebJobsStorage": self.environment["AzureWebJobsStorage"]}
        self.settings.write_text(json.dumps({"Values": values}))
        with redirect_stdout(io.StringIO()) as out:
            assert main(["status", "--vm", vm, "--settings", str(self.settings)]) == 0
        return out.getvalue()

    async def rows(self, *arguments: str) -> list[dict[str, Any]]:
        result = await self.onboard("status", "--json", *arguments)
        return [json.loads(line) for line in result.out.splitlines()]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def operator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operator]:
    async with Laptop(CloudOptions(scale=SCALE)) as laptop:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **laptop.connections(),
            "NO_PROXY": "localhost,127.0.0.1",
            "ONBOARDING_POLICIES": str(ROOT / "policies"),
            "OMS_WORKSPACE_ID": laptop.workspace.id,
            "OMS_WORKSPACE_KEY": laptop.workspace.key,
        }
        yield Operator(laptop, environment, tmp_path_factory.mktemp("night") / "settings.json")


# Where the text of the handler says more than the exit code: it names the system.
WORDS = {51: "The extension does not support centos 7.9."}
FAST = ("--interval", "0.1", "--timeout", "60")


async def test_a_vm_is_onboarded_and_followed_to_the_end(operator: Operator) -> None:
    machine = operator.add("by-hand")
    result = await operator.onboard("install", machine.id, *FAST)
    assert result.code == 0, result.err
    assert "by-hand: Requested (install)" in result.err
    (row,) = await operator.rows("--vm", "by-hand")
    assert (row["Outcome"], row["EventId"].partition(".")[0]) == ("Installed", "request")
    kinds = operator.laptop.arm.requests.kinds(vm=machine.id)
    assert kinds["extension-put"] == 1


async def test_three_requests_at_once_are_one_put(operator: Operator) -> None:
    machine = operator.add("at-once")
    result = await asyncio.gather(*(operator.onboard("install", machine.id, *FAST) for _ in range(3)))
    assert [each.code for each in result] == [0, 0, 0], "\n\n".join(each.out + each.err for each in result)
    assert operator.laptop.arm.requests.kinds(vm=machine.id)["extension-put"] == 1


async def test_a_vm_that_policy_or_os_excludes_is_refused_with_the_reason(operator: Operator) -> None:
    skipped = operator.add("skipped", tags={"onboarding": "skip"})
    result = await operator.onboard("install", "--force", skipped.id, *FAST)
    assert result.code == 1
    assert "OutOfScope" in result.out
    assert operator.laptop.arm.requests.kinds(vm=skipped.id)["extension-put"] == 0


async def test_the_log_is_shown_with_debug_alone(operator: Operator) -> None:
    """A command shows its rows itself; with `--debug` it writes the log too, as JSON if the setting says."""
    machine = operator.add("failing", runs=(HandlerRun(exit_code=51),) * 2)
    quiet = await operator.onboard("install", machine.id, *FAST, debug=False)
    assert quiet.code == 1
    assert "[event" not in quiet.err
    loud = await operator.onboard("install", machine.id, *FAST, ONBOARDING_LOG="json")
    lines = [json.loads(line) for line in loud.err.splitlines() if line.startswith('{"text": ')]
    assert {"Requested", "Failed"} <= {line["outcome"] for line in lines}
    assert {line["machine"] for line in lines if line["event_id"]} == {machine.id}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def failures(operator: Operator) -> dict[str, Any]:
    """Onboards a VM for each code of the document's table with one command, and returns the output of three
    commands."""
    machines = {code: operator.add(f"code-{code}", runs=(HandlerRun(exit_code=code),)) for code in DOCUMENT}
    ids = "\n".join(machine.id for machine in machines.values())
    installed = await operator.onboard("install", "-", *FAST, text=ids)
    assert installed.code == 1, installed.err
    extensions = await operator.onboard("extensions", "-", "-o", "json", text=ids)
    assert extensions.code == 1
    return {
        "rows": {row["VmName"]: row for row in await operator.rows()},
        "status": {code: await asyncio.to_thread(operator.status, f"code-{code}") for code in DOCUMENT},
        "extensions": {found["vm"]: found for found in json.loads(extensions.out)},
    }


@pytest.mark.parametrize("code", DOCUMENT)
async def test_each_code_of_the_document_shows_its_meaning_and_action(failures: dict[str, Any], code: int) -> None:
    meaning, action = WORDS.get(code, DOCUMENT[code][0]), DOCUMENT[code][1]
    row, extension = failures["rows"][f"code-{code}"], failures["extensions"][f"code-{code}"]
    assert (row["ErrorCode"], row["ErrorMeaning"]) == (str(code), meaning)
    assert (extension["exitCode"], extension["meaning"]) == (code, meaning)
    assert extension["advice"]
    if action:
        assert row["Advice"].startswith(action)
        assert extension["advice"].startswith(action)


async def test_status_shows_the_refused_vms_too(failures: dict[str, Any]) -> None:
    for code, out in failures["status"].items():
        meaning, action = WORDS.get(code, DOCUMENT[code][0]), DOCUMENT[code][1]
        words = f"{meaning} {action or ''}".split()
        assert [word for word in words if len(word) < 30 and word not in out] == []  # a long text is folded


async def test_a_failed_row_is_retried_after_the_fix(operator: Operator) -> None:
    machine = operator.add("repaired", runs=(HandlerRun(exit_code=62), HandlerRun()))
    assert (await operator.onboard("install", machine.id, *FAST)).code == 1
    assert (await operator.rows("--vm", "repaired"))[0]["Outcome"] == "Failed"
    result = await operator.onboard("retry", "-g", machine.group, "--subscription", machine.subscription, *FAST)
    assert result.code == 0, result.err
    assert (await operator.rows("--vm", "repaired"))[0]["Outcome"] == "Installed"


async def test_the_handlers_log_is_shown_masked_and_explained(operator: Operator) -> None:
    machine = operator.add("logged", runs=(HandlerRun(exit_code=62),))
    await operator.onboard("install", machine.id, *FAST)
    result = await operator.onboard("logs", machine.id)
    assert result.code == 0, result.err
    assert "==> /opt/microsoft/omsagent/bin/stdout <==" in result.out
    assert "omsadmin.sh -w" in result.out
    assert "***" in result.out
    assert "means exit code 62: Missing tar program" in result.out
    assert result.out.count("Missing tar program") == 1


async def test_a_vm_that_does_not_run_gives_no_log_and_says_why(operator: Operator) -> None:
    machine = operator.add("asleep", power=Power.STOPPED)
    result = await operator.onboard("logs", machine.id)
    assert result.code == 2
    assert "Microsoft.Compute/virtualMachines/runCommand/action" in result.err
    assert "a VM that runs" in result.err


async def test_a_complete_template_deploys_what_the_function_app_installs(operator: Operator) -> None:
    """Deploy the root template to an existing VM, and then reconcile the VM, as its event would."""
    by_template, by_line = operator.add("templated"), operator.add("lined")
    made = await operator.onboard("template", "--placement", "root", "--complete", "--vm", "templated")
    await deploy(operator, by_template, json.loads(made.out), {"workspaceKey": operator.laptop.workspace.key})
    await operator.onboard("install", by_template.id, by_line.id, *FAST)
    (first,), (second,) = by_template.extensions.values(), by_line.extensions.values()
    assert first.properties == second.properties
    assert first.protected_settings == second.protected_settings
    assert (first.name, first.provisioning_state, first.handler_version) == (
        second.name,
        second.provisioning_state,
        second.handler_version,
    )
    assert operator.laptop.arm.requests.kinds(vm=by_template.id)["extension-put"] == 0
    (row,), (other,) = await operator.rows("--vm", "templated"), await operator.rows("--vm", "lined")
    assert (row["Outcome"], other["Outcome"]) == ("AlreadyInstalled", "Installed")
    own = {"ResourceId", "VmName", "VmId", "ResourceGroup", "Outcome", "Reason", "Attempt", "EventId", "EventTime"}
    own |= {"RequestedAt", "FinishedAt", "DurationMs", "SentDigest", "ClientRequestId", "SatisfiedSince"}
    assert {k: v for k, v in row.items() if k not in own} == {k: v for k, v in other.items() if k not in own}


async def test_a_complete_nested_template_creates_a_vm_that_is_onboarded(operator: Operator) -> None:
    neighbour = operator.add("neighbour", group="rg-new")
    made = await operator.onboard("template", "--complete", "--vm", "newborn")
    image = {"imagePublisher": "OpenLogic", "imageOffer": "CentOS", "imageSku": "7_9-gen2"}
    given = {"adminUsername": "a", "sshPublicKey": "ssh-rsa x", "networkInterfaceId": "/nic", **image}
    await deploy(operator, neighbour, json.loads(made.out), {**given, "workspaceKey": operator.laptop.workspace.key})
    machine = operator.laptop.arm.machines[neighbour.id.replace("neighbour", "newborn")]
    assert machine.extensions["omsextension"].provisioning_state == "Succeeded"
    assert (await operator.onboard("install", machine.id, *FAST)).code == 0


async def test_a_vm_that_reports_elsewhere_is_moved_on_request(operator: Operator) -> None:
    settings = {"workspaceId": "00000000-aaaa-bbbb-cccc-000000000000"}
    elsewhere = ExtensionSpec(
        name="theirs", **OMS, version="1.3", settings=settings, protected_settings={"workspaceKey": "dGhlaXJz"}
    )
    machine = operator.add("elsewhere", extensions=(elsewhere,))
    result = await operator.onboard("install", machine.id, *FAST)
    assert result.code == 1
    assert "billed once for each workspace" in " ".join(result.out.split())
    result = await operator.onboard("install", "--reconnect", machine.id, *FAST)
    assert result.code == 0, result.err
    (moved,) = machine.extensions.values()
    assert moved.properties["settings"]["workspaceId"] == operator.laptop.workspace.id
    assert moved.protected_settings == {"workspaceKey": operator.laptop.workspace.key}


async def test_no_secret_was_printed_by_any_command(operator: Operator) -> None:
    """All tests above ran their commands with --debug; this test has to be the last one."""
    secrets = [
        operator.laptop.workspace.key,
        operator.laptop.topic_key,
        operator.laptop.endpoints.identity_header,
        "eyJ",
    ]
    secrets.append(operator.laptop.azurite.connection_string.partition("AccountKey=")[2].partition(";")[0])
    assert all(secrets)
    assert len(operator.everything) > 40
    assert "DEBUG" in "".join(operator.everything)
    assert [secret[:4] for secret in secrets for text in operator.everything if secret in text] == []


async def deploy(operator: Operator, machine: Machine, template: dict[str, Any], parameters: Mapping[str, str]) -> None:
    """Deploy a template to the group of a VM, as `az deployment group create` does."""
    import ssl

    import aiohttp

    values = {name: {"value": value} for name, value in parameters.items()}
    body = {"properties": {"mode": "Incremental", "template": template, "parameters": values}}
    scope = machine.id.partition("/providers/")[0]
    url = f"{operator.laptop.endpoints.arm}{scope}/providers/Microsoft.Resources/deployments/d?api-version=2024-11-01"
    token = operator.laptop.arm.tokens.issue("https://management.azure.com").value
    context = ssl.create_default_context(cafile=str(operator.laptop.endpoints.ca_file))
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=context)) as session:
        async with session.put(url, json=body) as answer:
            assert answer.status == 201, await answer.text()
        for _ in range(200):
            async with session.get(url) as answer:
                properties = (await answer.json())["properties"]
            if properties["provisioningState"] in ("Succeeded", "Failed"):
                break
            await asyncio.sleep(0.05)
    assert properties["provisioningState"] == "Succeeded", properties
