"""Somebody else who changes the identities of machines at random times, as other policies and pipelines do."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from simulator.arm.compute.machines import Machine, Machines
from simulator.arm.http.errors import ArmError
from simulator.arm.identity.machine_identity import assigned_ids
from simulator.clock import Clock, Timer


class Arm(Protocol):
    """What it needs of the simulator."""

    @property
    def clock(self) -> Clock: ...

    @property
    def machines(self) -> Machines: ...

    def patch_identity_as_other_deployer(self, vm_id: str, identity: Mapping[str, Any]) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How it behaves. `every` is the mean number of simulated seconds between two writes; it adds or removes the ids
    `own`, and a share `careless` of its writes names the system-assigned identity alone, which drops all ids."""

    own: Sequence[str]
    every: float = 60.0
    careless: float = 0.0
    seed: int = 0


class SecondParty:
    """Begins with `start` and ends with `stop`. `written` counts its accepted writes by machine, `removed` those that
    took identities away, `refused` its refused ones by ARM's code."""

    def __init__(self, arm: Arm, habits: Habits, chooses: Callable[[Machine], bool] = lambda machine: True) -> None:
        self._arm = arm
        self._habits = habits
        self._chooses = chooses
        self._random = random.Random(f"{habits.seed}|second-party")
        self._timer: Timer | None = None
        self.written: Counter[str] = Counter()
        self.removed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def start(self) -> None:
        wait = self._random.expovariate(1 / self._habits.every)
        self._timer = self._arm.clock.call_later(wait, self._act)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _act(self) -> None:
        machines = [each for each in self._arm.machines if self._chooses(each)]
        if machines:
            self._write(self._random.choice(machines))
        self.start()

    def _write(self, machine: Machine) -> None:
        change = self._change(machine)
        try:
            self._arm.patch_identity_as_other_deployer(machine.id, change)
        except ArmError as refusal:
            self.refused[refusal.code] += 1
        else:
            self.written[machine.key] += 1
            self.removed[machine.key] += next(assigned_ids(change), None) is None

    def _change(self, machine: Machine) -> dict[str, Any]:
        """One of its own ids more or less; what others put there stays, unless it is careless."""
        if self._random.random() < self._habits.careless:
            return {"type": "SystemAssigned"}
        identity, chosen = machine.identity, self._random.choice(self._habits.own)
        system = ["SystemAssigned"] if identity.principal_id else []
        if chosen.lower() not in identity.users:
            return {"type": ", ".join([*system, "UserAssigned"]), "userAssignedIdentities": {chosen: {}}}
        if len(identity.users) == 1:
            return {"type": "SystemAssigned" if system else "None"}
        return {"type": ", ".join([*system, "UserAssigned"]), "userAssignedIdentities": {chosen: None}}
