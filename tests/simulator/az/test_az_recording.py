"""What the Azure CLI asked of this cloud, sent again by plain HTTP: each request must have the same status as then.

`make test-az` runs the commands themselves, compares what they ask with this recording, and can record anew.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from tests.az.recorder import Asked, read_recording
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

    async def send(self, asked: Asked) -> Reply:
        """The answer; a GET is repeated until it has the recorded status, and a poll until the operation has ended."""
        reply = await self._send(asked)
        for _ in range(_MOST_POLLS if asked.method == "GET" else 0):
            if reply.status == asked.status and not _runs(asked, reply):
                break
            await self._scene.clock.advance(_POLL)
            reply = await self._send(asked)
        return reply

    async def end(self) -> None:
        """Let everything end that is under way."""
        await self._scene.clock.advance(3600)

    async def _send(self, asked: Asked) -> Reply:
        version = asked.query.get("api-version", "")
        others = {name: value for name, value in asked.query.items() if name != "api-version"}
        path = self._given.get(asked.path, asked.path) + (f"?{urlencode(others)}" if others else "")
        text = asked.body if isinstance(asked.body, str) else None
        body = None if asked.body is None or text else asked.body
        reply = await self._scene.call(asked.method, path, body, version=version, text=text)
        for name, word in (("Azure-AsyncOperation", "{operation}"), ("Location", "{location}")):
            if name in reply.headers:
                self._given[word] = reply.headers[name]
        return reply


def _runs(asked: Asked, reply: Reply) -> bool:
    return asked.path == "{operation}" and reply.body["status"] not in ("Succeeded", "Failed", "Canceled")


async def test_the_cloud_answers_every_recorded_request_as_it_did(scene: Scene) -> None:
    furnish(scene.arm)
    replay = Replay(scene)
    for command, requests in read_recording(RECORDING):
        for asked in requests:
            reply = await replay.send(asked)
            assert reply.status == asked.status, f"az {command}: {asked.method} {asked.path}: {reply.body}"
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
