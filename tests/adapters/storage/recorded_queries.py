"""A proxy in front of the table service, in a thread of its own, that records every read and says which are scans."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from yarl import URL

# Headers that requests are signed with, and that aiohttp would add.
_SIGNED = ("Content-Type", "Accept", "Accept-Encoding", "User-Agent")
_HOP = {"transfer-encoding", "connection", "keep-alive", "content-length"}

_ENTITY = re.compile(r"/onboarding\(PartitionKey='[^']+',RowKey='[^']*'\)$")
_TABLE = re.compile(r"/onboarding(\(\))?$")
_RANGE = re.compile(r"PartitionKey eq '[^']+' and RowKey g[et] '[^']+' and RowKey lt '[^']+'( and |$)")
_SEEK = re.compile(r"PartitionKey gt '[^']*' and PartitionKey lt '[^']+'$")
_SMALL = re.compile(r"PartitionKey eq '[a-z]{2,}' and RowKey ge ''( and |$)")


@dataclass
class RecordedQueries:
    endpoint: str = ""
    reads: list[tuple[str, str]] = field(default_factory=list)
    """The path and the query of each read, unquoted."""

    @property
    def scans(self) -> list[tuple[str, str]]:
        return [(path, query) for path, query in self.reads if is_scan(path, query)]


def is_scan(path: str, query: str) -> bool:
    """Whether a read is neither of one entity, nor of a range of keys in one partition, nor of a small partition of its
    own, nor the seek of the next partition."""
    if not _TABLE.search(path):
        return not _ENTITY.search(path)
    given = parse_qs(query)
    (text,) = given.get("$filter", [""])
    seek = _SEEK.match(text) and given.get("$top") == ["1"]
    return not (_RANGE.match(text) or _SMALL.match(text) or seek)


@contextmanager
def recorded_queries(upstream: str) -> Iterator[RecordedQueries]:
    """Forwards everything to `upstream`, an address without a path."""
    recorded, loop, ready = RecordedQueries(), asyncio.new_event_loop(), threading.Event()
    ended = asyncio.Event()

    async def serve() -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as session:

            async def carry(request: web.Request) -> web.Response:
                if request.method == "GET":
                    recorded.reads.append((request.path, request.url.query_string))
                url = URL(upstream + request.raw_path, encoded=True)
                body = await request.read() or None
                sent = session.request(
                    request.method, url, data=body, headers=request.headers, skip_auto_headers=_SIGNED
                )
                async with sent as answer:
                    kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
                    return web.Response(status=answer.status, headers=kept, body=await answer.read())

            application = web.Application(client_max_size=8 * 1024 * 1024)
            application.router.add_route("*", "/{path:.*}", carry)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            recorded.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await ended.wait()
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(30)
    try:
        yield recorded
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
