"""The errors that parts of the product raise on purpose.

    OnboardingError
    ├── ConfigurationError   a setting, policy or catalogue file is wrong: the problem, the place, the fix
    ├── ArmError             ARM refused or did not answer; carries the evidence
    ├── HeartbeatError       Log Analytics refused or did not answer; carries the evidence
    ├── LostRace             somebody else wrote the row first
    └── StorageError         the table or the queue could not be reached

Adapters translate every error of a library into one of these. Decisions are values, never errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onboarding.domain.masking import cut, mask

if TYPE_CHECKING:
    from onboarding.domain.failures.evidence import Evidence
from collections.abc import Iterable, Mapping, Sequence
from typing import Final


class OnboardingError(Exception):
    """The base of all errors that the product raises on purpose."""


class ConfigurationError(OnboardingError):
    """A setting or a file cannot be used.

    `problem` quotes the input as it is written. `place` names the setting, or the file and the path in it, as in
    `agent.yaml: rule.allOf[0]`; the caller that has the file's text adds the line. `fix` says what to write instead."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(error_text(place, problem, fix))
        self.place = place
        self.problem = mask(problem)
        self.fix = fix


class _Refused(OnboardingError):
    """A service answered with an error, or did not answer at all."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(f"{evidence.http_status or 'no answer'} {cut(mask(evidence.code), 256)}".strip())
        self.evidence = evidence


class ArmError(_Refused):
    """ARM answered with an error, or did not answer at all."""


class HeartbeatError(_Refused):
    """Log Analytics answered with an error or with a part of the answer, or did not answer at all. It never means that
    there is no heartbeat."""


class LostRace(OnboardingError):
    """Somebody else wrote the row since it was read, or its history already has this event."""


class StorageError(OnboardingError):
    """A request to the storage account failed; nothing was written."""


_MOST_NAMES: Final = 50
_LONGEST_PLACE: Final = 300
_QUOTE: Final = '"'  # around the names of support tables, which YAML reads as dates without quotes


def error_text(place: str, problem: str, fix: str) -> str:
    """The one form of every error about input: "problem (place); fix". `place` may be empty: the input is at hand."""
    shown = _shortened(mask(place), _LONGEST_PLACE)
    if not shown.isprintable():  # a key may have line breaks, and an error is one line of the log
        shown = shown.encode("unicode_escape").decode()
    where = f" ({shown})" if place else ""
    return f"{mask(problem)}{where}; {fix}"


def as_written(value: object, limit: int = 80) -> str:
    """A value for an error text: a text in quotes, shortened and without secrets; a list or mapping by its kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(_shortened(mask(value), limit))
        case Mapping():
            return "a mapping" if value else "an empty mapping"
        case Sequence():
            return "a list" if value else "an empty list"
    return _shortened(mask(str(value)), limit)


def known_names(what: str, known: Iterable[str], given: object = "") -> str:
    """The fix for an unknown name: all known names, and the one that is nearest to the given name."""
    names = list(known)
    if not names:
        return "remove it"
    listed = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")
    close = did_you_mean(names, given)
    return f"known {what}: {listed}{f'; did you mean {close.strip(_QUOTE)!r}?' if close else ''}"


def unknown_key(place: str, key: object, owner: str, known: Iterable[str]) -> ConfigurationError:
    """The error for a key that `owner` does not have; `place` is that of the key itself."""
    return ConfigurationError(place, f"unknown key {as_written(key)} in {owner}", known_names("keys", known, key))


def did_you_mean(known: Iterable[str], given: object) -> str:
    """The known name that is nearest to the given one, upper and lower case alike; empty if no name is near."""
    by_folded = {name.strip(_QUOTE).lower(): name for name in known}
    # A text that is far longer than any name is not misspelt, and comparing it takes long.
    from difflib import get_close_matches  # here, because most processes never see a wrong name

    close = get_close_matches(str(given)[:100].lower(), by_folded, n=1)
    return by_folded[close[0]] if close else ""


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
