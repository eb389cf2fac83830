"""Reads the pages of a running function app, as a browser on this laptop does."""

from __future__ import annotations

import asyncio
import re
from html import unescape

from aiohttp import ClientSession, ClientTimeout

_VIEWS = (
    "",
    "/machines",
    "/causes",
    "/limits",
    "/events",
    "/images",
    "/policies",
    "/migration",
    "/machines?attention=1",
)
_MACHINE = re.compile(r'href="(/api/ui/machine\?[^"]+)"')
_GO_ON = re.compile(r'<a class="button" href="(/api/ui/[^"]+)">Go on</a>')
_MOST_MACHINES, _AT_ONCE = 40, 8
_TIMEOUT = ClientTimeout(total=60)


async def shown_outcomes(host: str) -> dict[str, int]:
    """The rows by outcome, as the overview shows them. Raises aiohttp's errors."""
    async with (
        ClientSession(timeout=_TIMEOUT) as session,
        session.get(f"{host}/api/ui/overview.json", raise_for_status=True) as answer,
    ):
        outcomes: dict[str, int] = (await answer.json())["outcomes"]
    return outcomes


async def read_pages(host: str) -> dict[str, str]:
    """The views, each to the end of its list, and the pages of some machines, by their addresses; none where the host
    has no page. Raises aiohttp's errors, and ValueError for a page that is an error."""
    found: dict[str, str] = {}
    left = [f"/api/ui{path}" for path in _VIEWS]
    machines: dict[str, None] = {}
    async with ClientSession(timeout=_TIMEOUT) as session:

        async def read(path: str) -> None:
            async with session.get(host + path) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise ValueError(f"{path} answers {answer.status}")
                found[path] = text

        async with session.get(f"{host}/api/ui") as answer:
            if answer.status == 404:
                return {}
        while left:
            path = left.pop(0)
            await read(path)
            machines |= dict.fromkeys(map(unescape, _MACHINE.findall(found[path])))
            left += [each for each in map(unescape, _GO_ON.findall(found[path])) if each not in found]
        chosen = list(machines)[:_MOST_MACHINES]
        for at in range(0, len(chosen), _AT_ONCE):
            await asyncio.gather(*(read(each) for each in chosen[at : at + _AT_ONCE]))
    return found
