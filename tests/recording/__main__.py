"""`python -m tests.recording --to DIR`: record what the product does, to compare two commits with `diff -r`.

Two commits with the same behaviour give equal folders, whatever the names of modules, classes and functions are:

    storm.jsonl      in order, what leaves the product in a storm with a fixed clock and fixed names (`storm`)
    commands.jsonl   the JSON output of the commands (`commands`)
    demo/            the demo's fleet on real parts: ARM requests, table, queue, `onboard status` (`demo`)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from tests.recording.commands import commands
from tests.recording.demo import demo
from tests.recording.storm import storm
from tests.recording.wire import write

_HASHES = "PYTHONHASHSEED"  # the order of a set may decide which extension comes first


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tests.recording", description=__doc__, formatter_class=shape)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--vms", type=int, default=200, metavar="N", help="machines of the storm (default: 200)")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="of storm and demo (default: 7)")
    parser.add_argument("--no-demo", action="store_true", help="leave the demo out, which takes most of the time")
    args = parser.parse_args()
    if os.environ.get(_HASHES) != "0":
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.recording", *sys.argv[1:]], {**os.environ, _HASHES: "0"}
        )
    folder: Path = args.to.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "storm.jsonl", storm(args.seed, args.vms))
    commands(folder)
    if not args.no_demo:
        asyncio.run(demo(folder, 60, args.seed))


if __name__ == "__main__":
    main()
