"""A storage account whose answers the test decides, for answers that Azurite never gives; it keeps the requests."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

CHANGESET = (
    "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n"
    "--changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    "HTTP/1.1 {status} Refused\r\nContent-Type: application/json;odata=minimalmetadata\r\n\r\n{body}\r\n"
    "--changesetresponse_1--\r\n--batchresponse_1--\r\n"
)


@dataclass
class StorageStub:
    """`answer` makes each answer; before it, as many connections as `broken` says are cut off."""

    answer: Callable[[], web.Response]
    endpoint: str = ""
    broken: int = 0
    requests: list[web.Request] = field(default_factory=list)

    @property
    def connection(self) -> str:
        """The connection string of this account."""
        account = "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=c2VjcmV0IGtleQ=="
        return f"{account};TableEndpoint={self.endpoint}/account;QueueEndpoint={self.endpoint}/account;"

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        await request.read()
        if self.broken:
            self.broken -= 1
            assert request.transport is not None
            request.transport.close()
        return self.answer()


@asynccontextmanager
async def storage_stub(
    answer: Callable[[], web.Response], tls: ssl.SSLContext | None = None
) -> AsyncIterator[StorageStub]:
    stub = StorageStub(answer)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", stub.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    stub.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield stub
    finally:
        await runner.cleanup()


def refusal(status: int, code: str) -> web.Response:
    """The table service's refusal of a whole request."""
    return web.json_response(
        {"odata.error": {"code": code, "message": {"lang": "en-US", "value": code}}}, status=status
    )


def refused_transaction(status: int, code: str) -> web.Response:
    """The table service's refusal of one operation of a transaction, inside an answer of 202."""
    body = f'{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"0:{code}"}}}}}}'
    text = CHANGESET.format(status=status, body=body)
    return web.Response(status=202, text=text, headers={"Content-Type": "multipart/mixed; boundary=batchresponse_1"})
