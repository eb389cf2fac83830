"""Cold start: the time of a new process to its first event, and the share of it that loads packages."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.parts import BenchFailed, environment
from bench.programs.cold_start import NEEDED
from bench.report import Figure, Grid, Section
from bench.run import Run

_ROOT = Path(__file__).resolve().parents[2]
_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)$", re.MULTILINE)
_MOST = 14


def measure(run: Run) -> Section:
    rounds = 2 if run.quick else 15
    with run.parts() as parts, TemporaryDirectory(prefix="no-byte-code-") as empty:
        parts.empty_storage()
        parts.record(0)
        start = Start(environment(parts.settings))
        bare = Start(start.environment | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": empty})
        start.play("first")  # writes the byte code
        taken: dict[str, list[dict[str, Any]]] = {"imports": [], "first": [], "ignored": []}
        for _ in range(rounds):
            for what, result in taken.items():
                result.append(start.play(what))
        without = bare.play("first")
        grids = [] if run.quick else [_grid(start.loads(), bare.loads())]
        starts = start.onboarding + bare.onboarding
        if (onboarded := parts.record()["calls"].get("put", 0)) != starts:
            raise BenchFailed(f"{onboarded} VMs were onboarded by {starts} starts")
    seconds = {what: statistics.median(each["seconds"] for each in result) for what, result in taken.items()}
    ratios = [
        first["seconds"] / imports["seconds"] for first, imports in zip(taken["first"], taken["imports"], strict=True)
    ]
    run.say(
        ", ".join(f"{what} {value:.2f} s" for what, value in seconds.items())
        + f", without .pyc {without['seconds']:.2f} s"
    )
    figures = [
        Figure(
            "cold.ratio_to_imports",
            statistics.median(ratios),
            "first event, to a Python that only imports the packages it needs; both with .pyc",
            at_most=1.3,
        ),
        Figure("cold.first_event_s", seconds["first"], "process start to the first onboarded VM, with .pyc"),
        Figure("cold.ignored_event_s", seconds["ignored"], "process start to the first ignored event, with .pyc"),
        Figure(
            "cold.bare_imports_s", seconds["imports"], f"process start to the end of the imports: {', '.join(NEEDED)}"
        ),
        Figure("cold.without_pyc_s", without["seconds"], "process start to the first onboarded VM, without any .pyc"),
        Figure("cold.first_mb", taken["first"][0]["resident_mb"], "resident memory after it, with .pyc"),
        Figure("cold.without_pyc_mb", without["resident_mb"], "resident memory after it, without any .pyc"),
        Figure(
            "cold.compute_sdk_loaded_by_ignored",
            float(taken["ignored"][0]["compute"]),
            "1 if an ignored event had loaded azure.mgmt.compute",
            0,
            0,
        ),
    ]
    return Section("cold", figures, grids)


class Start:
    """Starts processes in one environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.onboarding = 0  # how many of them had to onboard a VM

    def play(self, what: str) -> dict[str, Any]:
        """`seconds` from before the start of the process to the end of its event, by the machine's clock."""
        began = time.monotonic()
        result: dict[str, Any] = json.loads(self._run([], what).stdout.splitlines()[-1])
        return {**result, "seconds": result["at"] - began}

    def loads(self) -> Counter[str]:
        """Microseconds that each package's own modules take to load, until the first event."""
        spent: Counter[str] = Counter()
        for microseconds, name in _IMPORT.findall(self._run(["-X", "importtime"], "first").stderr):
            spent[_package(name)] += int(microseconds)
        return spent

    def _run(self, options: list[str], what: str) -> subprocess.CompletedProcess[str]:
        self.onboarding += what == "first"
        command = [sys.executable, *options, "-m", "bench.programs.cold_start", f"--what={what}"]
        done = subprocess.run(command, env=self.environment, cwd=_ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchFailed(done.stderr[-4000:])
        return done


def _package(module: str) -> str:
    """`azure.mgmt.compute` and the like for the SDK; otherwise the first name; the standard library as one."""
    parts = module.split(".")
    if parts[0] == "azure":
        return ".".join(parts[: 3 if parts[1:2] in (["mgmt"], ["data"], ["storage"]) else 2])
    return "the standard library" if parts[0] in sys.stdlib_module_names else parts[0]


def _grid(loads: Counter[str], without: Counter[str]) -> Grid:
    shown = [name for name, _ in loads.most_common(_MOST)]
    rows = [(name, _ms(loads[name]), _ms(without[name])) for name in shown]
    rest, rest_without = (sum(spent.values()) - sum(spent[name] for name in shown) for spent in (loads, without))
    rows.append(("all others", _ms(rest), _ms(rest_without)))
    title = "Loading until the first onboarded VM, in ms by package (`-X importtime`, which itself takes time):"
    return Grid(title, ("package", "with .pyc", "without"), rows)


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1000:.0f}"
