"""Azure Monitor's part of the simulated platform: the resources, their associations, and the flow of data."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.arm.compute.machines import Machine
from simulator.arm.events import Caller, owner
from simulator.arm.insights.agent_settings import NEW_AGENT, OLD_AGENT
from simulator.arm.insights.associations import Associations
from simulator.arm.insights.data_flow import AgentSurroundings, DataFlow, data_flow, old_agent_workspace
from simulator.arm.insights.rules import CollectionResources
from simulator.arm.insights.sending import Sending
from simulator.arm.insights.workspaces import Workspaces
from simulator.arm.platform import Platform


class Insights:
    """`sending` knows which agent of each machine sends, and since when."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.resources = CollectionResources(platform.machines)
        self.associations = Associations(platform, self.resources)
        self.workspaces = Workspaces(platform.machines)
        self.sending = Sending(platform, self.senders, lambda machine: self.data_flow(machine).reason)

    def remove(self, resource_id: str, caller: Caller | None = None) -> None:
        """The owner, or that caller, deletes a rule or endpoint together with its associations."""
        self.resources.remove(resource_id)
        self.associations.forget(resource_id, caller or owner())

    def data_flow(self, machine: Machine) -> DataFlow:
        """Whether the machine's Azure Monitor Agent sends data."""
        identities = self._platform.identities
        alive = frozenset(key for key, user in machine.identity.users.items() if identities.is_alive(user))
        rules = self.associations.rules_of(machine)
        notices = self._platform.options.notices_late_identity
        return data_flow(machine, AgentSurroundings(rules, alive, notices))

    def senders(self, machine: Machine) -> Mapping[str, frozenset[str]]:
        """The agents of the machine that send now, by their category, with the GUIDs of the workspaces that get their
        heartbeats: none if a rule sends elsewhere."""
        found: dict[str, frozenset[str]] = {}
        if self.data_flow(machine).flows:
            fitting = (rule for rule in self.associations.rules_of(machine) if rule.fits(machine.os_type))
            targets = (self.workspaces.find(target) for rule in fitting for target in rule.workspaces)
            found[NEW_AGENT] = frozenset(each.guid for each in targets if each is not None)
        if workspace := old_agent_workspace(machine):
            found[OLD_AGENT] = frozenset((workspace,))
        return found
