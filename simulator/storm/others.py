"""Others at work on the storm's VMs: somebody who gives them identities and takes them away, somebody who removes
associations, an owner who removes the new agent from a few, and a policy engine that installs the old one on a few.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil

from simulator.arm import (
    ArmSimulator,
    EngineHabits,
    Habits,
    Machine,
    PolicyEngine,
    Remover,
    RemoverHabits,
    SecondParty,
)
from simulator.clock import Timer
from simulator.demo.fleet import Member, Story
from simulator.storm.groups import Group, group_of, old_agent
from simulator.storm.targets import AGENTS, AMA, OMS, THEIRS, expected, rule_of

_BETWEEN_CHANGES = 30.0  # simulated seconds between two writes of identities
_BETWEEN_REMOVALS = 60.0  # simulated seconds between two removals of associations
_BETWEEN_UNDOINGS = 120.0  # simulated seconds on each machine between two looks of those who undo what we do
_UNDONE = 0.03  # the share of the fleet on which each of the two undoes it
# How often they undo it on a machine: once, which we repair, or until nobody but a person can decide.
_TIMES = (1, 3)


class Others:
    """Begins with `start` and ends with `stop_changing` and `stop_undoing`. `dissociated` has the keys of the VMs whose
    association was removed: each once, because one that is removed again and again belongs to two owners."""

    def __init__(self, arm: ArmSimulator, seed: int, fleet: Sequence[Member]) -> None:
        self._arm = arm
        self.identities = SecondParty(arm, Habits(own=THEIRS, every=_BETWEEN_CHANGES, seed=seed))
        self.dissociated: set[str] = set()
        self._chance = random.Random(f"{seed}|associations")
        self._timer: Timer | None = None
        self._keeps_removing = _times(fleet, (Group.NEW, Group.MIGRATING))
        taken = self._keeps_removing.keys()
        self._keeps_installing = _times([each for each in fleet if each.id not in taken], (Group.MIGRATING,))
        remover = RemoverHabits(handler=AMA.handler, every=_interval(self._keeps_removing), seed=seed)
        self.remover = Remover(arm, remover, lambda machine: self._still(machine, self._keeps_removing, self.remover))
        engine = EngineHabits(extension=old_agent(), every=_interval(self._keeps_installing), seed=seed)
        self.engine = PolicyEngine(
            arm, engine, lambda machine: self._still(machine, self._keeps_installing, self.engine)
        )

    def start(self) -> None:
        self.identities.start()
        self.remover.start()
        self.engine.start()
        self._wait()

    def stop_changing(self) -> None:
        """Identities and associations stay as they are. Those who undo what we do go on: they stop by themselves."""
        self.identities.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop_undoing(self) -> None:
        self.remover.stop()
        self.engine.stop()

    @property
    def changes_of_agent(self) -> Counter[str]:
        """How often somebody changed what the new agent needs, or removed it, by VM."""
        return self.identities.written + self.remover.written + Counter(self.dissociated)

    def _still(self, machine: Machine, times: Mapping[str, int], party: PolicyEngine | Remover) -> bool:
        return party.written[machine.key] < times.get(machine.key, 0)

    def _wait(self) -> None:
        self._timer = self._arm.clock.call_later(self._chance.expovariate(1 / _BETWEEN_REMOVALS), self._act)

    def _act(self) -> None:
        equipped = [each for each in self._arm.machines if each.key not in self.dissociated and _has_agent(each)]
        if equipped:
            machine = self._chance.choice(equipped)
            if self._arm.dissociate_as_other_deployer(machine.id, rule_of(machine.subscription)):
                self.dissociated.add(machine.key)
        self._wait()


def _times(fleet: Sequence[Member], groups: Sequence[Group]) -> Counter[str]:
    """How often what we do is undone, by VM: on a few of these groups, on which nothing else goes wrong."""
    plain = [
        member.id
        for member in fleet
        if group_of(member.spec) in groups
        and member.story is Story.NONE
        and not member.spec.runs
        and expected(member, AMA).outcome == "Installed"
        and not (member.spec.network_blocked or member.spec.old_endpoints_only)
        and (group_of(member.spec) is not Group.MIGRATING or expected(member, OMS).outcome == "Removed")
    ]
    few = plain[: ceil(len(fleet) * _UNDONE)]
    return Counter({vm: _TIMES[number % len(_TIMES)] for number, vm in enumerate(few, 1)})


def _interval(times: Mapping[str, int]) -> float:
    return _BETWEEN_UNDOINGS / max(1, len(times))


def _has_agent(machine: Machine) -> bool:
    agents = (machine.find_handler(target.handler, other_than="") for target in AGENTS)
    return any(agent is not None and agent.provisioning_state == "Succeeded" for agent in agents)
