"""The errors that the parts of the product tell each other apart by.

    OnboardingError
    ├── ConfigurationError   a setting, policy or catalogue file is wrong: the place, the problem, the mend
    ├── ArmError             ARM refused or could not be asked; carries the evidence
    ├── LostRace             somebody else wrote the row first
    └── StorageError         the table or the queue could not be reached

Adapters translate every foreign error into one of these. Decisions are values, never errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onboarding.core.masking import cut, mask

if TYPE_CHECKING:
    from onboarding.core.evidence import Evidence


class OnboardingError(Exception):
    """Anything that a part of the product raises on purpose."""


class ConfigurationError(OnboardingError):
    """What somebody wrote cannot be used. `place` names the setting, or the file and the path in it."""

    def __init__(self, place: str, problem: str, mend: str) -> None:
        super().__init__(f"{place}: {problem}; {mend}")
        self.place = place
        self.problem = problem
        self.mend = mend


class ArmError(OnboardingError):
    """ARM answered with an error, or did not answer at all."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(f"{evidence.http_status or 'no answer'} {cut(mask(evidence.code), 256)}".strip())
        self.evidence = evidence


class LostRace(OnboardingError):
    """The row was written by somebody else since it was read, or this event is in its history already."""


class StorageError(OnboardingError):
    """The storage account did not take or give what was asked; nothing was written down."""
