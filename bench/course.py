"""The course of the line's bench: contestants that run on the same empty storage, each in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.measures import percentile
from bench.parts import BenchFailed, Parts, run_child
from bench.run import Run
from bench.workload import vm_name


@dataclass(frozen=True, slots=True)
class Taken:
    """What one contestant took. `ways` are the milliseconds from each delivery to ARM's having the PUT."""

    rate: float
    cpu_ms: float
    ways: list[float]

    def way(self, share: float) -> float:
        return percentile(self.ways, share)


class Course:
    """Runs contestants, each on empty storage and in a process of its own."""

    def __init__(self, parts: Parts, run: Run) -> None:
        self._parts = parts
        self._run = run
        self._number = 0

    def run(
        self, name: str, events: int, *, latency_ms: int, concurrency: int, rate: float = 0, seconds: float = 120
    ) -> Taken:
        """`rate`: so many a second, whatever is still under way; 0 is as fast as `concurrency` allows."""
        self._number += 1
        self._parts.empty_storage()
        self._parts.record(latency_ms)
        name_of_run = f"{name}{self._number}"
        given = {"name": name, "run": name_of_run, "events": events, "concurrency": concurrency}
        told = run_child("bench.contestants", {**given, "rate": rate, "seconds": seconds}, self._parts.settings)
        taken = Taken(told["events"] / told["seconds"], told["cpu_ms"], self._ways(name_of_run, told))
        if len(taken.ways) != told["events"]:
            raise BenchFailed(f"{name}: {told['events']} events, and {len(taken.ways)} installs were asked for")
        how = f"{rate:.0f} a second" if rate else f"{concurrency} at once"
        self._run.say(
            f"{name:6} {latency_ms:4} ms of ARM, {how:15} {taken.rate:6.1f} events/s, {taken.cpu_ms:5.2f} ms CPU each"
        )
        return taken

    def _ways(self, run: str, told: dict[str, Any]) -> list[float]:
        """Milliseconds from each VM's delivery to ARM's having its PUT."""
        puts = self._parts.record()["puts"]
        started = {vm_name(run, int(number)): at for number, at in told["started"].items()}
        return [1000 * (puts[name] - at) for name, at in started.items() if name in puts]
