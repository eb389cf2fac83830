"""`python -m bench`: measure the product and, in the same run, the minimum that the same work needs.

Writes bench/results/latest.json, and the figures and charts of docs/performance.md. Where possible, a figure is a
ratio to something that ran in the same minutes on the same machine. A bound that is not met is printed as not met.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.report import Figure, RunInfo, Section, table, verdict, write
from bench.run import Run

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ("line", "steps", "queue", "cold", "memory", "burst", "sweep", "table", "ledger", "page", "decision")


def main() -> int:
    args = _arguments().parse_args()
    console = Console(stderr=args.json)
    run_info = RunInfo(datetime.now(UTC).date().isoformat(), _machine(), args.size)
    figures: list[Figure] = []
    with Run(args.size == "quick", console) as run:
        for name in args.only or SECTIONS:
            console.rule(name)
            began = time.monotonic()
            measured = _measure(name, run)
            run.say(f"{name} took {time.monotonic() - began:.0f} s")
            write(measured, run_info, ROOT)
            figures += measured.figures
    if args.json:
        print(json.dumps({figure.name: round(figure.value, 4) for figure in figures}, indent=2))
    console.print(table(figures))
    console.print(verdict(figures))
    return 0


def _measure(name: str, run: Run) -> Section:
    module: Any = importlib.import_module(f"bench.sections.{name}")
    section: Section = module.measure(run)
    return section


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure the product, and baselines for comparison."
    )
    parser.add_argument("size", nargs="?", choices=("quick", "full"), default="full", help="quick: under two minutes")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"measure only these: {', '.join(SECTIONS)}"
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON on standard output")
    return parser


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()} with {cores} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
