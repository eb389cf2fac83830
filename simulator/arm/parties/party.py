"""What all other parties have in common: they act again and again, after random waits, and count what came of it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from simulator.arm.compute.machines import Machine, Machines
from simulator.arm.compute.spec import ExtensionSpec
from simulator.arm.events import Caller
from simulator.arm.http.errors import ArmError
from simulator.clock import Clock, Timer


class Arm(Protocol):
    """What they need of the simulator."""

    @property
    def clock(self) -> Clock: ...

    @property
    def machines(self) -> Machines: ...

    def patch_identity_as_other_deployer(self, vm_id: str, identity: Mapping[str, Any]) -> object: ...

    def put_extension_as_other_deployer(self, vm_id: str, spec: ExtensionSpec, caller: Caller) -> object: ...

    def delete_extension_as_other_deployer(self, vm_id: str, name: str, caller: Caller) -> object: ...


def every_machine(_: Machine) -> bool:
    return True


class Party(ABC):
    """Begins with `start` and ends with `stop`. `written` counts its accepted writes by machine (the id in lower case),
    `refused` its refused ones by ARM's code."""

    def __init__(self, arm: Arm, every: float, seed: str, chooses: Callable[[Machine], bool] = every_machine) -> None:
        """`every` is the mean number of simulated seconds between two writes; it leaves machines alone that `chooses`
        does not choose."""
        self._arm = arm
        self._every = every
        self._chooses = chooses
        self._random = random.Random(seed)
        self._timer: Timer | None = None
        self.written: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def start(self) -> None:
        wait = self._random.expovariate(1 / self._every)
        self._timer = self._arm.clock.call_later(wait, self._act)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _act(self) -> None:
        machines = self._machines([each for each in self._arm.machines if self._chooses(each)])
        if machines:
            machine = self._random.choice(machines)
            try:
                self._write(machine)
            except ArmError as refusal:
                self.refused[refusal.code] += 1
            else:
                self.written[machine.key] += 1
        self.start()

    def _machines(self, chosen: Sequence[Machine]) -> Sequence[Machine]:
        """Those that it has something to do on now."""
        return chosen

    @abstractmethod
    def _write(self, machine: Machine) -> None:
        """Do one write. Raises ARM's refusal."""
