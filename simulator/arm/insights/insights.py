"""Azure Monitor's part of the simulated platform: the resources, their associations, and the flow of data."""

from __future__ import annotations

from simulator.arm.compute.machines import Machine
from simulator.arm.insights.associations import Associations
from simulator.arm.insights.data_flow import AgentSurroundings, DataFlow, data_flow
from simulator.arm.insights.rules import CollectionResources
from simulator.arm.platform import Platform


class Insights:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.resources = CollectionResources(platform.machines)
        self.associations = Associations(platform, self.resources)

    def remove(self, resource_id: str) -> None:
        """Delete a rule or endpoint together with its associations."""
        self.associations.forget(resource_id)
        self.resources.remove(resource_id)

    def data_flow(self, machine: Machine) -> DataFlow:
        """Whether the machine's Azure Monitor Agent sends data."""
        identities = self._platform.identities
        alive = frozenset(key for key, user in machine.identity.users.items() if identities.is_alive(user))
        rules = self.associations.rules_of(machine)
        notices = self._platform.options.notices_late_identity
        return data_flow(machine, AgentSurroundings(rules, alive, notices))
