"""Which rows somebody asks for: by subscription, resource group, VM and outcome. Names count in any spelling."""

from __future__ import annotations

from msgspec import Struct

from onboarding.core.outcome import Outcome


class Selection(Struct, frozen=True, kw_only=True):
    """A field that is empty selects all."""

    subscription: str = ""
    resource_group: str = ""
    vm_name: str = ""
    outcomes: tuple[Outcome, ...] = ()


EVERYTHING = Selection()
