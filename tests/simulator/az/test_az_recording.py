"""What the Azure CLI asked of this cloud, sent again by plain HTTP: each request must have the same status as then.

`make test-az` runs the commands themselves, compares what they ask with this recording, and can record anew.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from tests.az.recorder import CliRequest, read_recording
from tests.az.scenery import furnish
from tests.az.tour import TOUR
from tests.simulator.conftest import Reply, Scene

RECORDING = Path(__file__).with_name("az_recording.jsonl")
_MOST_POLLS = 200
_POLL = 30.0


class Replay:
    """Sends recorded requests. Time passes only while a request waits for its status, and after a whole command."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._given: dict[str, str] = {}

    async def send(self, request: CliRequest) -> Reply:
        """The answer; a GET is repeated until it has the recorded status, and a poll until the operation has ended."""
        reply = await self._send(request)
        for _ in range(_MOST_POLLS if request.method == "GET" else 0):
            if reply.status == request.status and not _runs(request, reply):
                break
            await self._scene.clock.advance(_POLL)
            reply = await self._send(request)
        return reply

    async def end(self) -> None:
        """Let everything end that is under way."""
        await self._scene.clock.advance(3600)

    async def _send(self, request: CliRequest) -> Reply:
        version = request.query.get("api-version", "")
        others = {name: value for name, value in request.query.items() if name != "api-version"}
        path = self._given.get(request.path, request.path) + (f"?{urlencode(others)}" if others else "")
        text = request.body if isinstance(request.body, str) else None
        body = None if request.body is None or text else request.body
        reply = await self._scene.call(request.method, path, body, version=version, text=text)
        for name, word in (("Azure-AsyncOperation", "{operation}"), ("Location", "{location}")):
            if name in reply.headers:
                self._given[word] = reply.headers[name]
        return reply


def _runs(request: CliRequest, reply: Reply) -> bool:
    return request.path == "{operation}" and reply.body["status"] not in ("Succeeded", "Failed", "Canceled")


async def test_the_cloud_answers_every_recorded_request_as_it_did(scene: Scene) -> None:
    furnish(scene.arm)
    replay = Replay(scene)
    for command, requests in read_recording(RECORDING):
        for request in requests:
            reply = await replay.send(request)
            assert reply.status == request.status, f"az {command}: {request.method} {request.path}: {reply.body}"
        if "--no-wait" not in command:
            await replay.end()


def test_the_recording_has_every_command_of_the_tour() -> None:
    assert [command for command, _ in read_recording(RECORDING)] == [step.line for step in TOUR]


def test_the_recording_has_no_token() -> None:
    text = RECORDING.read_text("utf-8")
    assert "Bearer" not in text
    assert "eyJ" not in text


def test_the_recording_has_writes_of_every_kind() -> None:
    methods = {each.method for _, requests in read_recording(RECORDING) for each in requests}
    assert {"GET", "PUT", "PATCH", "DELETE", "POST"} <= methods
