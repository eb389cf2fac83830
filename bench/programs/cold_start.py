"""`python -m bench.programs.cold_start --what first|ignored|imports`: process start to first event, as JSON.

`imports` only imports the packages that the first event needs from the worker library and the SDKs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

# The packages that a new VM needs: the worker library, the programming model, and those for identity, HTTP, policies
# and typed values. The SDKs of storage and compute are not among them, since an event does without.
NEEDED = (
    "azure_functions_runtime",
    "azure.functions",
    "azure.identity.aio",
    "aiohttp",
    "msgspec",
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
        # A VM of its own: one that another process has onboarded has a row, and its event would ask ARM for nothing.
        _event(f"{'cold' if what == 'first' else 'ignored'}{os.getpid()}")
    result = {"at": time.monotonic(), "compute": _COMPUTE in sys.modules, "modules": len(sys.modules)}
    if what != "imports":
        from bench.programs.memory import resident_mb

        result["resident_mb"] = resident_mb()
    print(json.dumps(result))


def _event(run: str) -> None:
    # Imported here: `imports` must not load the product.
    import asyncio

    from bench.implementations import product

    async def run_event() -> None:
        first, close = await product.prepare(run, 1)
        await first(0)
        await close()

    asyncio.run(run_event())


if __name__ == "__main__":
    main()
