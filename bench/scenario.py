"""A scenario of the bench: implementations that run on the same empty storage, each in its own process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.measures import percentile
from bench.parts import BenchFailed, Parts, run_child
from bench.run import Run
from bench.workload import vm_name


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run of an implementation took."""

    rate: float
    """Events a second."""
    cpu_ms: float
    """Milliseconds of CPU for one event."""
    to_put_ms: list[float]
    """For each event, the milliseconds from its delivery to the arrival of its PUT at ARM."""

    def to_put(self, share: float) -> float:
        return percentile(self.to_put_ms, share)


class Scenario:
    """Runs implementations, each on empty storage and in its own process."""

    def __init__(self, parts: Parts, run: Run) -> None:
        self._parts = parts
        self._run = run
        self._number = 0

    def run(
        self, name: str, events: int, *, latency_ms: int, concurrency: int, rate: float = 0, seconds: float = 120
    ) -> Measurement:
        """`rate`: so many events a second, however many are under way; 0: as fast as `concurrency` allows."""
        self._number += 1
        self._parts.empty_storage()
        self._parts.record(latency_ms)
        name_of_run = f"{name}{self._number}"
        given = {"name": name, "run": name_of_run, "events": events, "concurrency": concurrency}
        result = run_child("bench.implementations", {**given, "rate": rate, "seconds": seconds}, self._parts.settings)
        measured = Measurement(
            result["events"] / result["seconds"], result["cpu_ms"], self._to_put_ms(name_of_run, result)
        )
        if len(measured.to_put_ms) != result["events"]:
            raise BenchFailed(
                f"{name}: {result['events']} events, and {len(measured.to_put_ms)} installs were requested"
            )
        load = f"{rate:.0f} a second" if rate else f"{concurrency} at once"
        speed = f"{measured.rate:6.1f} events/s, {measured.cpu_ms:5.2f} ms CPU each"
        self._run.say(f"{name:8} {latency_ms:4} ms of ARM, {load:15} {speed}")
        return measured

    def _to_put_ms(self, run: str, result: dict[str, Any]) -> list[float]:
        """Milliseconds from the delivery of each VM's event to the arrival of its PUT at ARM."""
        puts = self._parts.record()["puts"]
        started = {vm_name(run, int(number)): at for number, at in result["started"].items()}
        return [1000 * (puts[name] - at) for name, at in started.items() if name in puts]
