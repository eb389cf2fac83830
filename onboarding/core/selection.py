"""Which rows somebody asks for: by subscription, resource group, VM and outcome. Names count in any spelling."""

from __future__ import annotations

from dataclasses import dataclass

from onboarding.core.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A field that is empty selects all."""

    subscription: str = ""
    resource_group: str = ""
    vm_name: str = ""
    outcomes: tuple[Outcome, ...] = ()


EVERYTHING = Selection()
