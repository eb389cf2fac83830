"""The operating system of the machines that a rule selects, as far as its conditions on the disk, the profile and the
image tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from onboarding.domain.image.os_release import Distribution
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.policy.conditions.values import fold
from onboarding.domain.policy.definitions.condition_logic import field_of, replaced

_OF_THE_IMAGE: Final = ("imagepublisher", "imageoffer", "imagereference.publisher", "imagereference.offer")
_WINDOWS: Final = ("windows", "-ws20")  # `-WS2019` is in the offers of SQL Server
_LINUX: Final = (
    *("linux", "canonical", "redhat", "suse", "openlogic", "credativ"),
    *(each.value for each in Distribution if each not in ("windows", "freebsd", "other", "unknown")),
)
_CHOOSING: Final = ("equals", "in", "like", "contains")


def os_of_rule(rule: Any) -> OsType:
    """The system; `UNKNOWN` if the rule tells none, or both."""
    systems: set[OsType] = set()

    def collect(leaf: Any, inverted: bool) -> Any:
        if isinstance(leaf, Mapping) and not inverted:
            systems.update(_named_by(leaf))
        return leaf

    replaced(rule, collect)
    return systems.pop() if len(systems) == 1 else OsType.UNKNOWN


def _named_by(leaf: Mapping[str, Any]) -> Iterator[OsType]:
    name = field_of(leaf)
    for key, value in leaf.items():
        word = fold(str(key))
        if word == "exists" and fold(str(value)) == "true":
            texts = [name.rpartition(".")[2]] if name.endswith("configuration") else []
        elif word in _CHOOSING and name.endswith(("ostype", *_OF_THE_IMAGE)):
            texts = [fold(str(each)) for each in (value if isinstance(value, list) else [value])]
        else:
            continue
        for text in texts:
            if any(sign in text for sign in _WINDOWS):
                yield OsType.WINDOWS
            elif any(sign in text for sign in _LINUX):
                yield OsType.LINUX
