"""VMs that a platform makes and looks after (AKS, Databricks, …), which policies leave alone unless they say otherwise.

What marks them is data (`data/managed_platforms.yaml`), in the same condition grammar as a policy's rule.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from onboarding.core.conditions import Condition, Resource, compile_condition
from onboarding.core.facts import MachineFacts

_PATH = "data/managed_platforms.yaml"


def manager_of(facts: MachineFacts) -> str:
    """What looks after the VM, in words; empty for a VM that is its owner's own."""
    # A VM of a flexible scale set names the set as its manager, and is a VM like any other.
    if facts.managed_by and facts.managed_by.lower() != facts.scale_set.lower():
        return f"it is managed by {facts.managed_by}"
    resource = Resource(facts.body)
    return next((f"it is {name}" for name, rule in _platforms() if rule.evaluate(resource).matched), "")


@cache
def _platforms() -> tuple[tuple[str, Condition], ...]:
    text = files("onboarding.core").joinpath(_PATH).read_text(encoding="utf-8")
    listed: list[dict[str, Any]] = yaml.safe_load(text)["platforms"]
    return tuple((platform["name"], compile_condition(platform["rule"], place=_PATH)) for platform in listed)
