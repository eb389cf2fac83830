"""`python -m bench.implementations --name product …`: run one implementation once and print its measures as JSON."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import resource

from bench.load import drive

_WARM_UP = 32


async def _run(args: argparse.Namespace) -> None:
    implementation = importlib.import_module(f"bench.implementations.{args.name}")
    run_event, close = await implementation.prepare(args.run, args.events + _WARM_UP)
    try:
        warm = min(_WARM_UP, max(1, args.concurrency))
        await drive(lambda n: run_event(args.events + n), warm, concurrency=warm, rate=0, seconds=60)
        first_mb = _peak_mb()
        taken = await drive(run_event, args.events, concurrency=args.concurrency, rate=args.rate, seconds=args.seconds)
    finally:
        await close()
    print(json.dumps({**taken.plain(), "first_mb": first_mb, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", choices=("product", "bare", "baseline", "sdk", "script", "messages"), required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
