"""`python -m bench.programs.sorted_table`: a table service whose queries cost what their range of keys holds.

Azurite goes through all entities of the account for every query, so the time of a query on it tells how many entities
there are and not how many are read. Azure keeps the entities sorted by their keys; this does too, in memory. It answers
what the product sends, and 501 for everything else. Prints `ready` and its port, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from typing import Any
from urllib.parse import unquote

from aiohttp import web

_PAGE = 1000
_ENTITY = re.compile(r"/\w+\(PartitionKey='([^']*)',RowKey='([^']*)'\)$")
_RANGE = re.compile(
    r"PartitionKey eq '([^']+)'(?: and RowKey (g[et]) '([^']*)'(?: and RowKey lt '([^']+)')?)?"
    r"(?: and FinishedAt lt datetime'([^']+)')?"
    r"(?: and \(SentAt ge datetime'([^']+)' or EventTime ge datetime'[^']+'\))?$"
)
_SEEK = re.compile(r"PartitionKey gt '([^']*)' and PartitionKey lt '([^']+)'$")
_PART = re.compile(
    r"(PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n((?:[^\r\n]+\r\n)*)\r\n(.*?)(?=\r\n--changeset|\Z)", re.DOTALL
)
_MATCH = re.compile(r"If-Match: ([^\r\n]+)")
_KEYS = ["PartitionKey", "RowKey"]


class Refused(Exception):
    """The status of a refusal."""


class SortedTable:
    def __init__(self) -> None:
        self._partitions: dict[str, dict[str, tuple[str, bytes]]] = defaultdict(dict)  # etag and JSON by row key
        self._sorted: dict[str, list[str]] = defaultdict(list)
        self._writes = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        try:
            return self._answer(request, await request.read())
        except Refused as refused:
            return _refusal(int(str(refused)))

    def _answer(self, request: web.BaseRequest, content: bytes) -> web.Response:
        path = unquote(request.path)
        if path.endswith("/$batch"):
            return self._transact(content.decode())
        if found := _ENTITY.search(path):
            keys = found[1], found[2]
            if request.method == "GET":
                return self._one(*keys)
            etag = self._write(request.method, *keys, request.headers.get("If-Match", ""), content)
            return web.Response(status=204, headers={"ETag": etag})
        if request.method == "GET":
            return self._query(request)
        if path.endswith("/Tables"):
            return web.Response(status=204)
        entity = json.loads(content)
        etag = self._write("POST", entity["PartitionKey"], entity["RowKey"], "", content)
        return web.json_response({**entity, "odata.etag": etag}, status=201, headers={"ETag": etag})

    def _one(self, partition: str, key: str) -> web.Response:
        if key not in self._partitions[partition]:
            raise Refused(404)
        etag, content = self._partitions[partition][key]
        return web.Response(body=_with_etag(etag, content), content_type="application/json", headers={"ETag": etag})

    def _write(self, method: str, partition: str, key: str, match: str, content: bytes) -> str:
        stored = self._partitions[partition]
        there = key in stored
        if (method == "POST" and there) or (method != "POST" and match and not there):
            raise Refused(409 if there else 404)
        if match not in ("", "*") and stored[key][0] != match:
            raise Refused(412)
        if method == "DELETE":
            del stored[key]
            keys = self._sorted[partition]
            del keys[bisect_left(keys, key)]
            return ""
        if method in ("MERGE", "PATCH") and there:
            content = json.dumps({**json.loads(stored[key][1]), **json.loads(content)}).encode()
        if not there:
            insort(self._sorted[partition], key)
        self._writes += 1
        etag = f"W/\"datetime'{self._writes}'\""
        entity = {**json.loads(content), "PartitionKey": partition, "RowKey": key}
        stored[key] = etag, json.dumps(entity).encode()
        return etag

    def _transact(self, text: str) -> web.Response:
        parts = []
        for method, url, headers, content in _PART.findall(text):
            found = _ENTITY.search(unquote(url))
            entity = json.loads(content) if content.strip() else {}
            keys = (found[1], found[2]) if found else (entity["PartitionKey"], entity["RowKey"])
            match = _MATCH.search(headers)
            etag = self._write(method, *keys, match[1] if match else "", content.encode())
            parts.append(
                f"HTTP/1.1 204 No Content\r\nETag: {etag}\r\n\r\n" if etag else "HTTP/1.1 204 No Content\r\n\r\n"
            )
        body = "--c\r\n" + "\r\n--c\r\n".join(parts)
        return web.Response(status=202, body=body.encode(), headers={"Content-Type": "multipart/mixed; boundary=c"})

    def _query(self, request: web.BaseRequest) -> web.Response:
        text, most = request.query.get("$filter", ""), int(request.query.get("$top", _PAGE))
        if seek := _SEEK.match(text):
            found = min((each for each, keys in self._sorted.items() if keys and seek[1] < each < seek[2]), default="")
            return web.json_response({"value": [{"PartitionKey": found}] if found else []})
        query = _RANGE.match(text)
        if query is None:
            raise Refused(501)
        partition, compared, first, end, before, since = query.groups()
        keys = self._sorted[partition]
        begin = bisect_left(keys, request.query.get("NextRowKey", ""))
        if first:
            begin = max(begin, (bisect_right if compared == "gt" else bisect_left)(keys, first))
        stop = bisect_left(keys, end) if end else len(keys)
        page = keys[begin : min(stop, begin + most)]
        entities = [self._selected(partition, key, request.query.get("$select", "")) for key in page]
        if before:
            entities = [each for each in entities if json.loads(each)["FinishedAt"] < before]
        if since:
            entities = [each for each in entities if _is_since(json.loads(each), since)]
        headers = {}
        if begin + most < stop:
            headers = {"x-ms-continuation-NextPartitionKey": partition}
            headers["x-ms-continuation-NextRowKey"] = keys[begin + most]
        body = b'{"value":[' + b",".join(entities) + b"]}"
        return web.Response(body=body, content_type="application/json", headers=headers)

    def _selected(self, partition: str, key: str, select: str) -> bytes:
        etag, content = self._partitions[partition][key]
        if not select:
            return _with_etag(etag, content)
        names = select.split(",")
        if names == _KEYS:
            return json.dumps({"odata.etag": etag, "PartitionKey": partition, "RowKey": key}).encode()
        entity: dict[str, Any] = json.loads(content)
        kept = {name: value for name, value in entity.items() if name.partition("@")[0] in names}
        return json.dumps({"odata.etag": etag, **kept}).encode()


def _is_since(entity: dict[str, Any], since: str) -> bool:
    """As the product asks for changes; a day more or less is nothing here."""
    return any(str(entity.get(name, "")) >= since for name in ("SentAt", "EventTime"))


def _with_etag(etag: str, content: bytes) -> bytes:
    return b'{"odata.etag":' + json.dumps(etag).encode() + b"," + content[1:]


def _refusal(status: int) -> web.Response:
    code = {404: "ResourceNotFound", 409: "EntityAlreadyExists", 412: "UpdateConditionNotSatisfied"}.get(status, "No")
    error = {"odata.error": {"code": code, "message": {"lang": "en-US", "value": code}}}
    return web.json_response(error, status=status)


async def _serve() -> None:
    table = SortedTable()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(web.Server(table.answer, access_log=None), "127.0.0.1", 0)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
