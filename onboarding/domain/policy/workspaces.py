"""Reads `workspaces:` of a policy file: several workspaces, each with a condition; and its true-or-false keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from onboarding.domain.errors import ConfigurationError, as_written, unknown_key
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.rule import Match

KEYS = ("name", "when", "settings", "protectedSettings")


class Condition(Protocol):
    def decide(self, facts: MachineFacts, now: datetime) -> Match: ...


class Workspace(Struct, frozen=True):
    """One workspace of a policy."""

    name: str
    when: Condition | None  # which VMs report to it; None for all
    settings: Mapping[str, Any]  # they replace the policy's own settings of the same name
    protected_settings: Mapping[str, Any]  # the same


def choose(
    workspaces: Iterable[Workspace], facts: MachineFacts, now: datetime
) -> tuple[Workspace | None, Match | None]:
    """The first workspace that matches the VM, None without one; or why that is undecided."""
    for workspace in workspaces:
        match = workspace.when.decide(facts, now) if workspace.when else None
        if match is None or match.holds:
            return workspace, None
        if match.holds is None:
            return None, match
    return None, None


type Compiler = Callable[[Mapping[str, Any], str], Condition]


def parse_switch(raw: object, place: str) -> bool | None:
    """The value of a key that is true or false; None if it was not given."""
    if raw is not None and not isinstance(raw, bool):
        raise ConfigurationError(
            place, f"{as_written(raw)} is not true or false", "write true or false, without quotes"
        )
    return raw


def parse_workspaces(raw: object, place: str, compile_condition: Compiler) -> tuple[Workspace, ...]:
    """Read a policy's `workspaces:`. Raises ConfigurationError, also for a workspace that no VM can reach."""
    if raw is None:
        return ()
    if not isinstance(raw, list) or not raw:
        problem = f"{as_written(raw)} is not a list of workspaces"
        raise ConfigurationError(place, problem, "write `- {name: …, when: …, settings: …}` lines")
    found: list[Workspace] = []
    for index, item in enumerate(raw):
        here = f"{place}[{index}]"
        if found and found[-1].when is None:
            last = as_written(found[-1].name)
            problem = f"no VM can reach this workspace: {last} above it has no `when` and takes every VM"
            raise ConfigurationError(here, problem, f"put {last} last, or give it a `when`")
        workspace = _workspace(item, here, compile_condition)
        if any(workspace.name == other.name for other in found):
            problem = f"two workspaces have the name {as_written(workspace.name)}"
            raise ConfigurationError(f"{here}.name", problem, "give each workspace its own name")
        found.append(workspace)
    return tuple(found)


def _workspace(raw: object, place: str, compile_condition: Compiler) -> Workspace:
    if not isinstance(raw, Mapping):
        problem = f"{as_written(raw)} is not a workspace"
        raise ConfigurationError(place, problem, f"write a mapping with the keys {', '.join(KEYS)}")
    for key in raw:
        if key not in KEYS:
            raise unknown_key(f"{place}.{key}", key, "a workspace", KEYS)
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        problem = "missing key 'name' in a workspace" if name in (None, "") else f"{as_written(name)} is not a text"
        raise ConfigurationError(f"{place}.name", problem, "add `name:` and a text")
    when = mapping_at(raw, "when", f"{place}.when")
    return Workspace(
        name=name,
        when=compile_condition(when, f"{place}.when") if when else None,
        settings=mapping_at(raw, "settings", f"{place}.settings"),
        protected_settings=mapping_at(raw, "protectedSettings", f"{place}.protectedSettings"),
    )


def mapping_at(raw: Mapping[str, Any], key: str, place: str) -> Mapping[str, Any]:
    """The keys and values below `key`; empty without them. `place` is that of the key. Raises ConfigurationError."""
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        problem = f"{as_written(value)} is not a mapping"
        raise ConfigurationError(place, problem, f"write `key: value` lines below `{key}:`")
    return value
