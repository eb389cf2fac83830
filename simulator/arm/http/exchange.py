"""A checked request and its answer, and lists that are answered page by page."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from simulator.arm.events import Caller
from simulator.arm.http.errors import ArmError
from simulator.arm.http.targets import Target


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way: `origin` is scheme and authority, for the absolute links in the answer."""

    target: Target
    caller: Caller
    query: Mapping[str, str]
    raw_query: str
    origin: str
    body: dict[str, Any] = field(repr=False)
    if_match: str = ""

    @property
    def path(self) -> str:
        """The path as it was sent, without its empty parts."""
        path = self.caller.url.removeprefix(self.origin).partition("?")[0]
        return re.sub("/{2,}", "/", path).removesuffix("/")

    @property
    def expanded(self) -> bool:
        return "instanceview" in self.query.get("$expand", "").lower()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def encoded(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


async def send_half(request: web.Request, status: int, headers: Mapping[str, str], body: bytes) -> web.StreamResponse:
    """Announce the length of the whole body, and close the connection in the middle of it."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    with suppress(ConnectionError):  # a caller that was killed has closed it first
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


class Keyed(Protocol):
    """What lists are ordered and continued by."""

    @property
    def key(self) -> str: ...


class Pages:
    """Lists in pages of `size` items."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pages: dict[str, str] = {}

    def page[T: Keyed](self, exchange: Exchange, items: Sequence[T]) -> tuple[Sequence[T], str]:
        """A page and the opaque link to the next. It continues after a key, not at a number, because items are
        deleted between pages."""
        token = exchange.query.get("$skiptoken")
        if token is not None and token not in self._pages:
            raise ArmError(
                400, "InvalidParameter", "The value of parameter $skipToken is invalid.", target="$skipToken"
            )
        after = self._pages[token] if token is not None else ""
        rest = [item for item in items if item.key > after]
        page = rest[: self._size]
        if len(page) == len(rest):
            return page, ""
        following = secrets.token_urlsafe(24)
        self._pages[following] = page[-1].key
        path = exchange.origin + exchange.path
        return page, f"{path}?api-version={exchange.query['api-version']}&$skiptoken={following}"
