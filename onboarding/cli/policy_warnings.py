"""What `onboard policy validate` warns of: values that a rule asks for and that nobody may know when it is decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onboarding.core.conditions import ConditionError
from onboarding.core.conditions.asked import asked_for, places
from onboarding.core.surroundings import GROUP, RIGHTS, SUBSCRIPTION

# Parts of policies and definitions that hold no condition; templates are worked out by ARM.
_SKIPPED = frozenset(
    (
        *("deployment", "description", "displayname", "exemptions", "metadata"),
        *("parameters", "source", "settings", "protectedsettings"),
    )
)
_WHOSE = {GROUP: "resource group", SUBSCRIPTION: "subscription"}


def warnings(data: Any) -> Iterator[ConditionError]:
    """One for each value and place of a policy or definition file."""
    for place, text in places(data, skipped=_SKIPPED):
        for root, name in dict.fromkeys(asked_for(text)):
            yield ConditionError(place, _warning(root, f"{root}().{name}" if name else f"{root}()"))


def _warning(root: str, value: str) -> str:
    if root in RIGHTS:
        return (
            f"{value} is no part of a VM: it costs one read an hour for each {_WHOSE[root]}, and the identity needs"
            f" {RIGHTS[root]}; commands on files do not know it without --around"
        )
    return f"{value} is not known here: where it matters, the outcome is Undetermined; write the value that you mean"
