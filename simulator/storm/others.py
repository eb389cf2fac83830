"""Others at work on the storm's VMs: somebody who gives them identities and takes them away, and somebody who removes
associations."""

from __future__ import annotations

import random

from simulator.arm import ArmSimulator, Habits, Machine, SecondParty
from simulator.clock import Timer
from simulator.storm.targets import AGENTS, THEIRS, rule_of

_BETWEEN_CHANGES = 30.0  # simulated seconds between two writes of identities
_BETWEEN_REMOVALS = 60.0  # simulated seconds between two removals of associations


class Others:
    """Begins with `start` and ends with `stop`. `removed` has the keys of the VMs whose association was removed: each
    once, because one that is removed again and again belongs to two owners."""

    def __init__(self, arm: ArmSimulator, seed: int) -> None:
        self._arm = arm
        self.identities = SecondParty(arm, Habits(own=THEIRS, every=_BETWEEN_CHANGES, seed=seed))
        self.removed: set[str] = set()
        self._chance = random.Random(f"{seed}|associations")
        self._timer: Timer | None = None

    def start(self) -> None:
        self.identities.start()
        self._wait()

    def stop(self) -> None:
        self.identities.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = self._arm.clock.call_later(self._chance.expovariate(1 / _BETWEEN_REMOVALS), self._act)

    def _act(self) -> None:
        equipped = [each for each in self._arm.machines if each.key not in self.removed and _has_agent(each)]
        if equipped:
            machine = self._chance.choice(equipped)
            if self._arm.dissociate_as_other_deployer(machine.id, rule_of(machine.subscription)):
                self.removed.add(machine.key)
        self._wait()


def _has_agent(machine: Machine) -> bool:
    agents = (machine.find_handler(target.handler, other_than="") for target in AGENTS)
    return any(agent is not None and agent.provisioning_state == "Succeeded" for agent in agents)
