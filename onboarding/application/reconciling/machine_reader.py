"""Reads one machine: its policies, its body, and the containers and image that its policies ask for."""

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
    """The machine's facts, what each policy says of them, and which containers could not be read."""
    definition: ImageDefinition | None
    """The definition of a custom image; None: the image is not custom, or its definition was not needed or not read."""
    at: datetime | None
    """When ARM answered, by the answer's `Date` header (UTC); None: the answer has no such header."""

    def failures(self, work: Reconciliation) -> list[ArmError]:
        """The failed reads that the decisions of this reconciliation depend on."""
        unread = [assignment.unread for assignment in self.completed.assignments if work.concerns(assignment.policy)]
        return [self.completed.failures[what] for what in unread if what in self.completed.failures]


class MachineReader:
    """Reads a machine with one GET. A container or an image that policies ask for costs one more, cached."""

    def __init__(
        self, arm: Arm, policy_scopes: PolicyScopes, definitions: ImageDefinitions, containers: ContainerReader
    ) -> None:
        self._arm = arm
        self._policy_scopes = policy_scopes
        self._definitions = definitions
        self._containers = containers

    async def policies(self, now: datetime) -> PolicySet:
        """The policies, with subscriptions in place of management groups."""
        return await self._policy_scopes.policies(now)

    async def machine(self, work: Reconciliation, policies: PolicySet, *, to_install: bool) -> MachineReading:
        """Read the machine. Raises ArmError if it cannot be read; failed reads of its containers are in the result."""
        reading = await self._arm.read_machine(work.vm, to_install=to_install)
        facts = read_facts(reading.body)
        if facts.id.key != work.vm.key:
            facts = replace(facts, id=work.vm)
        definition = await self._definitions.read(facts)
        completed = await self._containers.complete(facts, policies, work.now, work.stored)
        return MachineReading(completed, definition, reading.at)

    async def extension(self, work: Reconciliation, name: str) -> InstalledExtension:
        """Read one extension of the machine. Raises ArmError."""
        reading = await self._arm.read_extension(work.vm, name)
        return read_extension(reading.body)
