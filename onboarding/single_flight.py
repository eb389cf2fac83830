"""One asks, and all who want the same meanwhile wait for the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any


class SingleFlight[K: Hashable, T]:
    """Questions that are under way, each asked once. Who stops waiting stops nobody else's wait, and an error is that
    of whoever waits for it; where nobody does any more, it is nobody's."""

    def __init__(self) -> None:
        self._asking: dict[K, asyncio.Task[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._asking

    async def ask(self, key: K, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to the question that is under way for that key, or to this one."""
        asking = self._asking.get(key)
        if asking is None:
            # Not a part of the event that happens to come first: others wait for it, whose time ends later.
            asking = asyncio.create_task(self._answer(key, question), context=Context())
            asking.add_done_callback(_looked_at)
            self._asking[key] = asking
        return await asyncio.shield(asking)

    def close(self) -> None:
        """Nobody waits for what is still under way."""
        for asking in self._asking.values():
            asking.cancel()

    async def _answer(self, key: K, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await question()
        finally:
            del self._asking[key]


def _looked_at(asking: asyncio.Task[Any]) -> None:
    if not asking.cancelled():
        asking.exception()
