"""The errors that parts of the product raise on purpose.

    OnboardingError
    ├── ConfigurationError   a setting, policy or catalogue file is wrong: the place, the problem, the fix
    ├── ArmError             ARM refused or did not answer; carries the evidence
    ├── LostRace             somebody else wrote the row first
    └── StorageError         the table or the queue could not be reached

Adapters translate every error of a library into one of these. Decisions are values, never errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onboarding.domain.masking import cut, mask

if TYPE_CHECKING:
    from onboarding.domain.failures.evidence import Evidence
from collections.abc import Iterable
from difflib import get_close_matches


class OnboardingError(Exception):
    """The base of all errors that the product raises on purpose."""


class ConfigurationError(OnboardingError):
    """A setting or a file cannot be used. `place` names the setting, or the file and the path in it."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(f"{place}: {problem}; {fix}")
        self.place = place
        self.problem = problem
        self.fix = fix


class ArmError(OnboardingError):
    """ARM answered with an error, or did not answer at all."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(f"{evidence.http_status or 'no answer'} {cut(mask(evidence.code), 256)}".strip())
        self.evidence = evidence


class LostRace(OnboardingError):
    """Somebody else wrote the row since it was read, or its history already has this event."""


class StorageError(OnboardingError):
    """A request to the storage account failed; nothing was written."""


_MOST = 50


def use_one_of(known: Iterable[str], given: object = "") -> str:
    """The fix for a name that is not among the known ones."""
    names = list(known)
    if not names:
        return "there is none that can be used"
    listed = ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
    close = did_you_mean(names, given)
    return f"use one of {listed}{f'; did you mean {close}?' if close else ''}"


def did_you_mean(known: Iterable[str], given: object) -> str:
    """The known name that is most like the given one, whatever its case; empty if none is like it."""
    by_folded = {name.strip('"').lower(): name for name in known}
    # A text that is far longer than any name takes long to compare.
    close = get_close_matches(str(given)[:100].lower(), by_folded, n=1)
    return by_folded[close[0]] if close else ""
