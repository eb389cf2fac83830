"""`python -m bench.programs.cold_start --what first|ignored|imports`: process start to first event, as JSON.

`imports` loads what the first event loads of the worker library and the SDKs, and does nothing with it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

# What a new VM needs of others: the worker library, the programming model, ARM, the identity, the table.
NEEDED = (
    "azure_functions_runtime",
    "azure.functions",
    "azure.identity.aio",
    "azure.data.tables.aio",
    "aiohttp",
    "yaml",
)
_COMPUTE = "azure.mgmt.compute"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=("first", "ignored", "imports"), required=True)
    what = parser.parse_args().what
    if what == "imports":
        for name in NEEDED:
            __import__(name)
    else:
        _event("cold" if what == "first" else "ignored")
    told = {"at": time.monotonic(), "compute": _COMPUTE in sys.modules, "modules": len(sys.modules)}
    if what != "imports":
        from bench.programs.memory import resident_mb

        told["resident_mb"] = resident_mb()
    print(json.dumps(told))


def _event(run: str) -> None:
    # Here and not above: the bare imports must not have ours in them.
    import asyncio

    from bench.contestants import line

    async def once() -> None:
        first, close = await line.prepare(run, 1)
        await first(0)
        await close()

    asyncio.run(once())


if __name__ == "__main__":
    main()
