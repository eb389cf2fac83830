"""Reads the definitions of custom images: OS type, architecture and purchase plan of a gallery or managed image.

A definition is read only if no other source gives the OS release, or if an override says `believeIdentifier`; once per
image and process.
"""

from __future__ import annotations

from onboarding.application.ports import Arm
from onboarding.domain.errors import ArmError
from onboarding.domain.image.os_identification import ImageDefinition, Overrides, identify, read_definition
from onboarding.domain.machine.machine_facts import ImageKind, MachineFacts
from onboarding.domain.reference_data import ReferenceData
from onboarding.logging import logger

_log = logger(__name__)

_MAX_DEFINITIONS = 1000
_READABLE = (ImageKind.GALLERY, ImageKind.MANAGED_IMAGE)


class ImageDefinitions:
    """Reads image definitions through a cache."""

    def __init__(self, arm: Arm, reference: ReferenceData, overrides: Overrides) -> None:
        self._arm = arm
        self._reference = reference
        self._overrides = overrides
        self._identifier_trusted = any(rule.believe_identifier for rule in overrides.rules)
        self._known: dict[str, ImageDefinition] = {}

    async def read(self, facts: MachineFacts) -> ImageDefinition | None:
        """The definition of the VM's custom image; None if it is not needed or cannot be read."""
        if facts.image.kind not in _READABLE:
            return None
        if not self._identifier_trusted and identify(facts, self._reference, self._overrides).known:
            return None
        image = facts.image.id.partition("/versions/")[0]
        if image.lower() not in self._known:
            try:
                body = await self._arm.read_image(image)
            except ArmError as error:
                log = _log.bind(machine=str(facts.id), step="read")
                log.info("the definition of its image could not be read: %s", error)
                return None
            if len(self._known) >= _MAX_DEFINITIONS:
                self._known.clear()
            self._known[image.lower()] = read_definition(body)
        return self._known[image.lower()]
