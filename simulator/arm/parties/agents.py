"""Others who undo what the product does to extensions: an owner who removes what it installs, and a policy engine that
installs again what it removes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.arm.compute.machines import Machine
from simulator.arm.compute.spec import ExtensionSpec
from simulator.arm.events import owner, policy_engine
from simulator.arm.parties.party import Arm, Party, every_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoverHabits:
    """`handler` is the publisher.type that it removes; `every` is the mean number of simulated seconds between two
    removals."""

    handler: str
    every: float = 600.0
    seed: int = 0


class Remover(Party):
    """A person who owns the machines and removes an extension wherever it is installed, by its handler."""

    def __init__(self, arm: Arm, habits: RemoverHabits, chooses: Callable[[Machine], bool] = every_machine) -> None:
        super().__init__(arm, habits.every, f"{habits.seed}|remover|{habits.handler}", chooses)
        self._handler = habits.handler

    def _machines(self, chosen: Sequence[Machine]) -> Sequence[Machine]:
        return [each for each in chosen if self._find(each)]

    def _write(self, machine: Machine) -> None:
        self._arm.delete_extension_as_other_deployer(machine.id, self._find(machine), owner())

    def _find(self, machine: Machine) -> str:
        """The name of the installed extension; empty if it is absent."""
        found = machine.find_handler(self._handler, other_than="")
        return found.name if found is not None and found.provisioning_state == "Succeeded" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHabits:
    """`extension` is what it wants on machines; `every` is the mean number of simulated seconds between two installs;
    with `everywhere` it installs also where the extension never was."""

    extension: ExtensionSpec
    every: float = 600.0
    everywhere: bool = False
    seed: int = 0


class PolicyEngine(Party):
    """Azure Policy or Defender for Cloud, whose remediation installs an extension again where it is gone. Its events
    name the policy assignment's identity."""

    def __init__(self, arm: Arm, habits: EngineHabits, chooses: Callable[[Machine], bool] = every_machine) -> None:
        wanted = habits.extension
        self._handler = f"{wanted.publisher}.{wanted.type}"
        super().__init__(arm, habits.every, f"{habits.seed}|engine|{self._handler}", chooses)
        self._habits = habits
        self._had: set[str] = set()
        self._remember()

    def start(self) -> None:
        self._remember()
        super().start()

    def _machines(self, chosen: Sequence[Machine]) -> Sequence[Machine]:
        self._remember()
        wants = (each for each in chosen if self._habits.everywhere or each.key in self._had)
        return [each for each in wants if each.find_handler(self._handler, other_than="") is None]

    def _write(self, machine: Machine) -> None:
        self._arm.put_extension_as_other_deployer(machine.id, self._habits.extension, policy_engine())

    def _remember(self) -> None:
        """Remember the machines that have the extension."""
        here = (each for each in self._arm.machines if each.find_handler(self._handler, other_than="") is not None)
        self._had.update(each.key for each in here)
