"""What every request to ARM has in common, and run commands, whose operations and polling are the SDK's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from aiohttp import web

from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.azure.arm.arm_requests import API_VERSIONS, ArmRequests
from onboarding.azure.arm.resource_graph import GraphAdapter
from onboarding.azure.arm.run_commands import RunCommands
from onboarding.azure.http_connections import USER_AGENT
from onboarding.domain.errors import ArmError
from onboarding.domain.machine.machine_facts import OsType
from simulator.arm import Cut, FaultRule
from simulator.laptop import ROOT, forget_settings
from simulator.tls import make_certificates
from tests.adapters.arm.arm_calls import add, install, read, refusal, run_script
from tests.adapters.conftest import SCOPE, Azure
from tests.adapters.storage.rows import new_vm
from tests.adapters.storage.storage_stub import StorageStub, storage_stub
from tests.adapters.storage.test_storage_connections import Identity, trusting

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
IMAGE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute"

type Answers = Callable[[StorageStub], Iterator[web.Response]]


def accepted(stub: StorageStub, **headers: str) -> web.Response:
    return web.Response(status=202, headers={"Location": f"{stub.endpoint}/operations/1"} | headers)


def printed(*statuses: tuple[str, str]) -> web.Response:
    return web.json_response({"value": [{"code": code, "message": message} for code, message in statuses]})


async def with_answers[T](folder: Path, answers: Answers, ask: Callable[[ArmRequests], Awaitable[T]]) -> StorageStub:
    """The requests that `ask` sends to an ARM with these answers."""

    def answer() -> web.Response:
        return next(coming)

    async with storage_stub(answer, make_certificates(folder).server_context()) as stub:
        coming = answers(stub)
        requests = ArmRequests(Identity(), stub.endpoint, SCOPE, lambda: NOW, connections=trusting(folder))
        await ask(requests)
        await requests.close()
    return stub


async def test_every_request_has_the_products_user_agent_a_token_and_an_id(tmp_path: Path) -> None:
    vm = new_vm()
    body = {"id": str(vm), "value": [], "data": [], "subscriptionId": "s"}

    def answers(stub: StorageStub) -> Iterator[web.Response]:
        yield web.json_response(body)
        yield web.json_response(body, status=201)
        yield web.json_response(body)
        yield accepted(stub)
        yield accepted(stub)
        yield printed(("ProvisioningState/succeeded", "hello"))

    async def ask(requests: ArmRequests) -> None:
        await ArmAdapter(requests).read_machine(vm)
        await install(requests, vm)
        assert not [row async for row in GraphAdapter(requests).machines(["s"])]
        assert await run_script(requests, vm) == "hello"

    stub = await with_answers(tmp_path, answers, ask)

    assert [request.method for request in stub.requests] == ["GET", "PUT", "POST", "POST", "GET", "GET"]
    assert {request.headers["User-Agent"] for request in stub.requests} == {USER_AGENT}
    assert all(request.headers["Authorization"].startswith("Bearer ") for request in stub.requests)
    *others, command, first, second = (UUID(request.headers["x-ms-client-request-id"]) for request in stub.requests)
    assert len({*others, command}) == 4
    assert command == first == second  # so a person finds a command and its polls by one id


async def test_each_resource_type_has_its_api_version(tmp_path: Path) -> None:
    vm = new_vm()

    def answers(stub: StorageStub) -> Iterator[web.Response]:
        yield accepted(stub)
        while True:
            yield web.json_response({"id": f"{vm}/extensions/x", "value": [], "data": []})

    async def ask(requests: ArmRequests) -> None:
        arm = ArmAdapter(requests)
        await run_script(requests, vm)
        await arm.read_extension(vm, "x")
        await arm.read_image(f"{IMAGE}/images/golden")
        await arm.read_image(f"{IMAGE}/galleries/g/images/golden")
        await arm.check_access("s")
        assert not [row async for row in GraphAdapter(requests).machines(["s"])]

    stub = await with_answers(tmp_path, answers, ask)

    versions = [request.query["api-version"] for request in stub.requests if "operations" not in request.path]
    compute = API_VERSIONS["Microsoft.Compute/virtualMachines"]
    assert versions == [compute, compute, "2026-04-01", "2026-03-03", "2022-12-01", "2021-03-01"]


async def test_what_the_script_prints_on_windows_comes_without_its_errors(tmp_path: Path) -> None:
    def answers(stub: StorageStub) -> Iterator[web.Response]:
        yield accepted(stub)
        yield printed(("ComponentStatus/StdOut/succeeded", "out"), ("ComponentStatus/StdErr/succeeded", "err"))

    async def ask(requests: ArmRequests) -> None:
        assert await RunCommands(requests).run(new_vm(), "dir", OsType.WINDOWS) == "out"

    stub = await with_answers(tmp_path, answers, ask)
    assert [request.method for request in stub.requests] == ["POST", "GET"]


async def test_a_run_command_that_does_not_end_is_an_error_without_a_status(azure: Azure) -> None:
    vm = add(azure)
    commands = RunCommands(azure.requests, poll_interval_s=60, patience_s=0.1)

    with pytest.raises(ArmError) as raised:
        await commands.run(vm, "uname -a")

    evidence = raised.value.evidence
    assert (evidence.http_status, evidence.code) == (None, "TimeoutError")
    assert evidence.message == "the run command did not end within 0.1 s"
    assert azure.arm.requests.count(kind="vm-run-command") == 1


POLLS = {
    "refused": (FaultRule(status=403, code="AuthorizationFailed", message="no"), 403, "AuthorizationFailed"),
    "throttled": (FaultRule(status=429, code="TooManyRequests", message="slow down"), 429, "TooManyRequests"),
    "upset": (FaultRule(status=500, code="InternalServerError", message="an error"), 500, "InternalServerError"),
    "cut": (FaultRule(cut=Cut.TRUNCATE), None, "IncompleteReadError"),
}


@pytest.mark.parametrize(("fault", "status", "code"), POLLS.values(), ids=POLLS)
async def test_a_poll_that_fails_is_an_arm_error(azure: Azure, fault: FaultRule, status: int | None, code: str) -> None:
    vm = add(azure)
    azure.arm.faults.add(replace(fault, kind="operation-poll"))

    evidence = await refusal(run_script, azure.requests, vm)

    assert (evidence.http_status, evidence.code) == (status, code)
    assert azure.arm.requests.count(kind="vm-run-command") == 1


ODD = {
    "a list": "[]",
    "null": "null",
    "a text": '"x"',
    "a text as value": '{"value": "y"}',
    "numbers": '{"value": [1]}',
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
async def test_an_unexpected_result_of_a_run_command_is_an_arm_error(azure: Azure, body: str) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(status=200, body=body, headers={"Content-Type": "application/json"}))
    assert (await refusal(run_script, azure.requests, vm)).code == "DecodeError"


async def test_an_operation_on_another_host_is_not_followed(tmp_path: Path) -> None:
    async def ask(requests: ArmRequests) -> None:
        assert (await refusal(run_script, requests, new_vm())).code == "InvalidLink"

    stub = await with_answers(tmp_path, lambda stub: iter([accepted(stub, Location="https://arm.invalid/x")]), ask)
    assert len(stub.requests) == 1


async def test_reads_and_run_commands_share_one_rate_limiter(azure: Azure) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(nth=(1,), status=429, code="TooManyRequests", headers={"Retry-After": "600"}))
    await refusal(install, azure.requests, vm)
    assert (await refusal(run_script, azure.requests, vm)).code == "HeldBack"
    await read(azure.requests, vm)


def test_the_models_of_the_sdk_are_loaded_for_run_commands_only() -> None:
    program = """
import asyncio, json, sys
from onboarding.app import open_machines, read_configuration

async def main():
    async with open_machines(read_configuration({})):
        print(json.dumps("azure.mgmt.compute" in sys.modules))

asyncio.run(main())
"""
    own = dict(os.environ)
    forget_settings(own)
    done = subprocess.run(
        [sys.executable, "-c", program], env=own, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) is False
