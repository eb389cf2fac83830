"""A proxy before the simulated ARM that writes down what the Azure CLI sends: method, path, query, body, status.

The answers are not kept. Addresses that an answer gave (of operations) are written as `{operation}` and `{location}`.
A request that the CLI repeats until it likes the answer is one, with the last status: how often depends on the machine.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from yarl import URL

from simulator.tls import certificates_in

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-encoding", "content-length"}


@dataclass(frozen=True)
class CliRequest:
    """One request. `body` is JSON, or a text where ARM accepts what JSON does not allow."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    body: Any = None

    def repeats(self, other: CliRequest) -> bool:
        """Whether it is the same reading request as the one before it."""
        return self.method == "GET" and (self.method, self.path, self.query) == (other.method, other.path, other.query)

    def same_question(self, other: CliRequest) -> bool:
        """Whether it asks the same, whatever the body's ids and times."""
        return (self.method, self.path, self.query, self.status) == (
            other.method,
            other.path,
            other.query,
            other.status,
        )


@dataclass
class Recorder:
    """Use as `async with Recorder(arm, ca_file) as recorder`; `url` is its address."""

    arm: str
    ca_file: Path
    url: str = ""
    sent: list[CliRequest] = field(default_factory=list)
    _given: dict[str, str] = field(default_factory=dict)

    def take(self) -> list[CliRequest]:
        """What was sent since the last call."""
        taken, self.sent = self.sent, []
        return taken

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context), auto_decompress=False, skip_auto_headers=("User-Agent",)
        )
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        certificates = certificates_in(self.ca_file.parent)
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=certificates.server_context())
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _forward(self, request: web.Request) -> web.Response:
        data = await request.read()
        target = URL(f"{self.arm}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        async with self._session.request(
            request.method, target, data=data or None, headers=headers, allow_redirects=False
        ) as answer:
            body = await answer.read()
            self._note(request, data, answer)
            back = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, headers=back, body=body)

    def _note(self, request: web.Request, data: bytes, answer: aiohttp.ClientResponse) -> None:
        for name, token in (("Azure-AsyncOperation", "{operation}"), ("Location", "{location}")):
            if name in answer.headers:
                self._given[answer.headers[name]] = token
        word = self._given.get(f"{self.url}{request.raw_path}")
        if word is not None:
            sent = CliRequest(request.method, word, {}, answer.status)
        else:
            sent = CliRequest(request.method, request.path, dict(request.query), answer.status, _read(data))
        if self.sent and sent.repeats(self.sent[-1]):
            self.sent.pop()
        self.sent.append(sent)


def _read(data: bytes) -> Any:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()


def line_of(command: str, sent: list[CliRequest]) -> str:
    """A line of the recording."""
    return json.dumps({"az": command, "requests": [asdict(each) for each in sent]}, separators=(", ", ": "))


def read_recording(file: Path) -> list[tuple[str, list[CliRequest]]]:
    """Each command with its requests."""
    lines = (json.loads(line) for line in file.read_text("utf-8").splitlines())
    return [(line["az"], [CliRequest(**each) for each in line["requests"]]) for line in lines]
