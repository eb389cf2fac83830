"""Reading one machine: its policies, its body, and what lies around it where a policy asks for that."""

from __future__ import annotations

from copy import replace
from datetime import datetime

from msgspec import Struct

from onboarding.application.ports import Arm
from onboarding.application.readers.container_reader import CompletedFacts, ContainerReader
from onboarding.application.readers.image_definitions import ImageDefinitions
from onboarding.application.readers.policy_scopes import PolicyScopes
from onboarding.application.reconciling.reconciliation import Reconciliation
from onboarding.domain.errors import ArmError
from onboarding.domain.image.os_identification import ImageDefinition
from onboarding.domain.machine.machine_facts import InstalledExtension, read_extension, read_facts
from onboarding.domain.policy.policy import PolicySet


class MachineReading(Struct, frozen=True):
    """What ARM says of one machine."""

    completed: CompletedFacts
    """The machine's facts with its resource group and subscription, what each policy says of it, and what could not be
    read of its surroundings."""
    definition: ImageDefinition | None
    """The definition behind a custom image; None where the image is no custom one, or is not known."""
    at: datetime | None
    """When ARM answered, by the `Date` header of the answer."""

    def failures(self, work: Reconciliation) -> list[ArmError]:
        """Why what the visit is about cannot be decided."""
        unread = [assignment.unread for assignment in self.completed.assignments if work.concerns(assignment.policy)]
        return [self.completed.failures[what] for what in unread if what in self.completed.failures]


class MachineReader:
    """One GET of the machine; what policies ask for beyond it costs one read an hour each."""

    def __init__(
        self, arm: Arm, policy_scopes: PolicyScopes, definitions: ImageDefinitions, containers: ContainerReader
    ) -> None:
        self._arm = arm
        self._policy_scopes = policy_scopes
        self._definitions = definitions
        self._containers = containers

    async def policies(self, now: datetime) -> PolicySet:
        """The policies, with subscriptions in the place of management groups."""
        return await self._policy_scopes.policies(now)

    async def machine(self, work: Reconciliation, policies: PolicySet, *, to_install: bool) -> MachineReading:
        """Raises ArmError where the machine cannot be read; what fails around it is in the reading."""
        reading = await self._arm.read_machine(work.vm, to_install=to_install)
        facts = read_facts(reading.body)
        if facts.id.key != work.vm.key:
            facts = replace(facts, id=work.vm)
        definition = await self._definitions.read(facts)
        completed = await self._containers.complete(facts, policies, work.now)
        return MachineReading(completed, definition, reading.at)

    async def extension(self, work: Reconciliation, name: str) -> InstalledExtension:
        """Raises ArmError."""
        reading = await self._arm.read_extension(work.vm, name)
        return read_extension(reading.body)
