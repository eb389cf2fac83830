"""Scripted faults: the same rules, from objects or files, change answers for tests, demo and bench; every sample error
is answered unchanged."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import HttpResponseError
from yarl import URL

from simulator.arm import Cut, FaultRule, Kind
from simulator.arm.http.faults import read_rules
from tests.shared_samples import needs_samples, read_lines
from tests.simulator.conftest import AUDIENCE, Scene


async def test_only_the_nth_matching_request_fails(scene: Scene) -> None:
    web, db = scene.add("web-1"), scene.add("db-1")
    scene.arm.faults.add(FaultRule(vm="WEB-*", kind="vm-get", nth=(2,), status=500, code="InternalServerError"))
    statuses = [(await scene.call("GET", vm.id)).status for vm in (web, db, web, db, web)]
    assert statuses == [200, 200, 500, 200, 200]


async def test_probability_is_seeded(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.faults.add(FaultRule(probability=0.5, status=503))
    statuses = {(await scene.call("GET", machine.id)).status for _ in range(20)}
    assert statuses == {200, 503}


async def test_an_error_after_the_effect_does_not_undo_the_write(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.faults.add(FaultRule(kind="extension-put", status=500, code="InternalServerError", after=True))
    assert (await scene.put_oms(machine)).status == 500
    await scene.clock.advance(1_000)
    assert machine.extensions["omsextension"].provisioning_state == "Succeeded"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_the_connection_is_reset_before_or_after_the_effect(scene: Scene, after: bool) -> None:
    machine = scene.add()
    scene.arm.faults.add(FaultRule(kind="extension-put", cut=Cut.RESET, after=after))
    with pytest.raises(aiohttp.ClientError):
        await scene.put_oms(machine)
    assert ("omsextension" in machine.extensions) is after
    # aiohttp sends an idempotent request a second time by itself, so there may be two.
    assert {request.status for request in scene.arm.requests} == {0}


async def die_after(scene: Scene, read: str, request: str, *headers: str, body: str = "") -> None:
    """Send a request, and close the connection once ARM has read it, which a GET of `read` shows."""
    url = URL(scene.endpoints.arm)
    assert url.host
    tls = ssl.create_default_context(cafile=str(scene.endpoints.ca_file))
    _, writer = await asyncio.open_connection(url.host, url.port, ssl=tls)
    token = f"Authorization: Bearer {scene.arm.tokens.issue(AUDIENCE).value}"
    lines = (f"{request}?api-version=2024-11-01 HTTP/1.1", f"Host: {url.host}", token, *headers, "", body)
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    assert (await scene.call("GET", read)).status == 200  # what was written before has arrived by now
    writer.transport.abort()


async def test_a_client_that_dies_while_sending_changes_nothing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    machine = scene.add()
    await die_after(scene, machine.id, f"PUT {machine.id}/extensions/OMSExtension", "Content-Length: 1000", body="{")
    for _ in range(20):
        assert (await scene.call("GET", machine.id)).status == 200
    assert not machine.extensions
    assert {request.method for request in scene.arm.requests} == {"GET"}
    assert not caplog.records


async def test_an_answer_can_end_in_the_middle(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.faults.add(FaultRule(cut=Cut.TRUNCATE))
    with pytest.raises(aiohttp.ClientError):
        await scene.call("GET", machine.id)


async def test_half_an_answer_for_a_client_that_is_gone_is_no_failure(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    machine = scene.add()
    scene.arm.faults.add(FaultRule(cut=Cut.TRUNCATE, delay=60, nth=(1,)))
    await die_after(scene, machine.id, f"GET {machine.id}")
    assert (await scene.call("GET", machine.id)).status == 200
    await scene.clock.advance(61)
    assert (await scene.call("GET", machine.id)).status == 200
    assert len(scene.arm.requests) == 4
    assert not caplog.records


async def test_a_proxy_answers_html(scene: Scene) -> None:
    machine = scene.add()
    page = "<html><body>502 Bad Gateway</body></html>"
    scene.arm.faults.add(FaultRule(status=502, body=page, headers={"Content-Type": "text/html"}))
    reply = await scene.call("GET", machine.id)
    assert (reply.status, reply.body) == (502, page)


async def test_a_poll_error_is_not_the_end_of_the_operation(scene: Scene) -> None:
    accepted = await scene.put_oms(scene.add())
    scene.arm.faults.add(FaultRule(kind="operation-poll", nth=(1,), status=500, code="MultipleErrorsOccurred"))
    assert (await scene.poll(accepted)).status == 500
    await scene.clock.advance(1_000)
    assert (await scene.poll(accepted)).body["status"] == "Succeeded"


async def test_rules_come_from_yaml_files(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("- {vm: 'web-*', kind: vm-get, nth: 1, status: 429, headers: {Retry-After: '7'}, code: '429'}\n")
    scene.arm.faults.load(file)
    reply = await scene.call("GET", scene.add().id)
    assert (reply.status, reply.headers["Retry-After"], reply.code) == (429, "7", "429")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"vm": "x"}, "expected a list"),
        (["x"], "rule 1 must be a mapping"),
        ([{}, {"stats": 500}], "rule 2 has no field 'stats'; known: after, body"),
    ],
)
def test_a_bad_rule_is_named_with_its_file(raw: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"file.yaml: {words}"):
        list(read_rules(raw, "file.yaml"))


@needs_samples
@pytest.mark.parametrize("sample", read_lines("arm_errors.jsonl"), ids=lambda sample: str(sample["id"]))
async def test_sample_errors_replay_unchanged(scene: Scene, sample: dict[str, Any]) -> None:
    machine = scene.add()
    rule = _rule_for(sample)
    scene.arm.faults.add(rule)
    reply = await scene.call("GET", machine.id)
    assert reply.status == sample["http_status"]
    assert {k: v for k, v in sample["headers"].items() if reply.headers.get(k) != v} == {}
    error = reply.body["error"]
    members = ("code", "message", "details", "innererror", "target", "additionalInfo")
    assert {m: error.get(m) for m in members} == {m: sample.get(m) for m in members}


@needs_samples
@pytest.mark.parametrize(
    "sample",
    [s for s in read_lines("arm_errors.jsonl") if s["http_status"] not in (200, 401)],
    ids=lambda sample: str(sample["id"]),
)
async def test_the_sdk_reads_sample_errors_as_from_azure(scene: Scene, sample: dict[str, Any]) -> None:
    machine = scene.add()
    scene.arm.faults.add(_rule_for(sample))
    async with scene.client() as client:
        with pytest.raises(HttpResponseError) as caught:
            await client.virtual_machines.get(machine.group, machine.name)
    assert (caught.value.status_code, caught.value.error and caught.value.error.code) == (
        sample["http_status"],
        sample["code"],
    )


def _rule_for(sample: dict[str, Any]) -> FaultRule:
    members = ("details", "innererror", "target", "additionalInfo")
    error = {m: sample[m] for m in members if m in sample}
    status, code, message = sample["http_status"], sample["code"], sample["message"]
    body = None
    if status == 200:
        body = {"status": sample["body_status"], "error": {"code": code, "message": message, **error}}
    return FaultRule(
        kind=Kind.VM_GET, status=status, code=code, message=message, error=error, body=body, headers=sample["headers"]
    )
