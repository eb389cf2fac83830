"""`python -m bench.programs.table --what reading|totals|json|text`: the time to read the rows of a fleet, as JSON.

`reading` is bare aiohttp; the others run `onboard status` in its own process and measure the time to its first and to
its last line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from typing import Any

from bench.parts import BenchFailed
from bench.programs.reading import read_table

_ARGUMENTS = {"totals": ["--totals", "--json"], "json": ["--json"], "text": []}


def _reading() -> dict[str, Any]:
    began = time.monotonic()
    rows = asyncio.run(read_table())
    return {"seconds": time.monotonic() - began, "rows": rows}


def _status(what: str) -> dict[str, Any]:
    """Seconds from before the start of the process to the first line that it prints, and to its end."""
    command = [sys.executable, "-m", "onboarding", "status", *_ARGUMENTS[what]]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first, last, lines = 0.0, "", 0
        for line in running.stdout:
            first = first or time.monotonic() - began
            last, lines = line, lines + 1
    seconds = time.monotonic() - began
    if running.returncode:
        raise BenchFailed(f"onboard status {what}: exit code {running.returncode}")
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"first_s": first, "seconds": seconds, "lines": lines, "last": last.strip(), "peak_mb": peak_mb}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=("reading", *_ARGUMENTS), required=True)
    what = parser.parse_args().what
    print(json.dumps(_reading() if what == "reading" else _status(what)))


if __name__ == "__main__":
    main()
