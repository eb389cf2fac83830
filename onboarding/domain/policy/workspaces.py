"""The workspaces of a policy: several, each with a condition that says which VMs report to it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Protocol

from msgspec import Meta, Struct

from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.rule import Match
from onboarding.domain.typed_file import FileMapping


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


class WorkspaceEntry(FileMapping, frozen=True):
    """A workspace in `workspaces:` of a policy file."""

    what: ClassVar[str] = "a workspace"

    name: Annotated[str, Meta(min_length=1, description="Its name in errors and explanations.")]
    when: Annotated[
        dict[str, Any] | None, Meta(description="Which VMs report to it, as in `rule`; all without it.")
    ] = None
    settings: Annotated[
        dict[str, Any] | None, Meta(description="They replace the policy's settings of the same name.")
    ] = None
    protected_settings: Annotated[dict[str, Any] | None, Meta(description="The same, for protected settings.")] = None


def compile_workspaces(
    entries: Sequence[WorkspaceEntry], place: str, compile_condition: Compiler
) -> tuple[Workspace, ...]:
    """The workspaces of a policy. Raises ConfigurationError, also for a workspace that no VM can reach."""
    found: list[Workspace] = []
    for index, entry in enumerate(entries):
        here = f"{place}[{index}]"
        if found and found[-1].when is None:
            last = as_written(found[-1].name)
            problem = f"no VM can reach this workspace: {last} above it has no `when` and takes every VM"
            raise ConfigurationError(here, problem, f"put {last} last, or give it a `when`")
        if any(entry.name == other.name for other in found):
            problem = f"two workspaces have the name {as_written(entry.name)}"
            raise ConfigurationError(f"{here}.name", problem, "give each workspace its own name")
        when = compile_condition(entry.when, f"{here}.when") if entry.when else None
        found.append(Workspace(entry.name, when, entry.settings or {}, entry.protected_settings or {}))
    return tuple(found)
