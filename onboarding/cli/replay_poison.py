"""Looks that the functions host laid aside after too many tries, put back on their queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from onboarding.cli.preflight import explained
from onboarding.core.errors import StorageError
from onboarding.settings import QUEUE


def give_back(environment: Mapping[str, str]) -> int:
    """Put them all back; 1 if one is none of ours and stays."""
    try:
        counts = asyncio.run(_give_back(environment))
    except StorageError as error:
        raise asyncio.run(explained(error, environment)) from None
    print(f"{counts[True]} messages put back on the queue {QUEUE}")
    if counts[False]:
        print(f"{counts[False]} stay in {QUEUE}-poison: they are none of ours")
    return 1 if counts[False] else 0


async def _give_back(environment: Mapping[str, str]) -> Counter[bool]:
    from onboarding.wiring import open_poison

    async with open_poison(environment) as poison:
        return Counter([ours async for ours in poison.give_back()])
