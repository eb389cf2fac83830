"""One reason to look at one VM, and what is known when it comes to acting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from onboarding.core.asked import Asked
from onboarding.core.configuration import ExtensionSettings
from onboarding.core.decision import Situation
from onboarding.core.images import ImageDefinition
from onboarding.core.outcome import Row, WaitingFor
from onboarding.core.policy import Policy
from onboarding.core.record import Opening
from onboarding.core.resource_id import VmId
from onboarding.events import Trigger
from onboarding.ports import Stored


@dataclass(frozen=True, slots=True)
class Visit:
    """`created` is what the event said; `cleared` are the extensions whose paused scope this visit probes; `asked` is
    there when a person is the reason. `policies` are the names of those it is about, and None is all; `settled` are
    extensions that it is not about."""

    vm: VmId
    trigger: Trigger
    stored: Mapping[str, Stored]
    now: datetime
    created: bool = False
    cleared: frozenset[str] = frozenset()
    definition: ImageDefinition | None = None
    asked: Asked | None = None
    policies: frozenset[str] | None = None
    settled: frozenset[str] = frozenset()

    @property
    def to_install(self) -> bool:
        """Whether an install is likely to follow: nothing is known of the VM yet, or it was held back before."""
        held_back = any(stored.row.waiting_for is WaitingFor.THROTTLING for stored in self.stored.values())
        return self.asked is None and (held_back or not self.stored)

    def last(self, extension: str, vm_id: str = "") -> Row | None:
        """The extension's row, unless it is that of another VM that had this name before."""
        stored = self.stored.get(extension)
        if stored is None or (vm_id and stored.row.vm_id not in ("", vm_id)):
            return None
        return stored.row

    def concerns(self, policy: Policy) -> bool:
        """Whether what that policy decides is looked at."""
        if self.asked is not None and self.asked.policy not in ("", policy.name):
            return False
        return policy.extension not in self.settled and (self.policies is None or policy.name in self.policies)

    def version(self, extension: str) -> str | None:
        return self.stored[extension].version if extension in self.stored else None

    @property
    def opening(self) -> Opening:
        return self.trigger.id, self.trigger.time, self.trigger.correlation_id


@dataclass(frozen=True, slots=True)
class Case:
    """A situation on a visit, and the settings that would be sent."""

    visit: Visit
    situation: Situation
    settings: ExtensionSettings

    @property
    def extension(self) -> str:
        return self.situation.entry.name
