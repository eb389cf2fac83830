"""`python -m bench.programs.memory --events N --each M --new K`: the product's memory after each M of N events."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
from pathlib import Path

from bench.implementations import product
from bench.load import drive
from bench.workload import IGNORED, created_event, vm_name

_AT_ONCE = 64
_STATM = Path("/proc/self/statm")  # of Linux


async def _run(events: int, each: int, new: int) -> list[tuple[int, float]]:
    """Every `new`-th event is that of a new VM; the others are about something else."""
    deliver = product.event_function(await product.load_product())

    async def run_event(number: int) -> None:
        await deliver(created_event(vm_name(IGNORED if number % new else "memory", number)))

    await run_event(0)
    grown = [(1, resident_mb())]
    for begun in range(1, events, each):
        most = min(each, events - begun)

        async def from_here(number: int, begun: int = begun) -> None:
            await run_event(begun + number)

        await drive(from_here, most, concurrency=_AT_ONCE, rate=0, seconds=600)
        grown.append((begun + most, resident_mb()))
    return grown


def resident_mb() -> float:
    """The memory in use now, not the peak, after a garbage collection."""
    gc.collect()
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return int(shown.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--each", type=int, required=True)
    parser.add_argument("--new", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps({"resident_mb": asyncio.run(_run(args.events, args.each, args.new))}))


if __name__ == "__main__":
    main()
