"""Somebody else who changes the identities of machines, as other policies and pipelines do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.arm.compute.machines import Machine
from simulator.arm.identity.machine_identity import assigned_ids
from simulator.arm.parties.party import Arm, Party, every_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How it behaves. `every` is the mean number of simulated seconds between two writes; it adds or removes the ids
    `own`, and a share `careless` of its writes names the system-assigned identity alone, which drops all ids."""

    own: Sequence[str]
    every: float = 60.0
    careless: float = 0.0
    seed: int = 0


class SecondParty(Party):
    """`removed` counts, by machine, its writes that took identities away."""

    def __init__(self, arm: Arm, habits: Habits, chooses: Callable[[Machine], bool] = every_machine) -> None:
        super().__init__(arm, habits.every, f"{habits.seed}|second-party", chooses)
        self._habits = habits
        self.removed: Counter[str] = Counter()

    def _write(self, machine: Machine) -> None:
        change = self._change(machine)
        self._arm.patch_identity_as_other_deployer(machine.id, change)
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
