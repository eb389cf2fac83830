"""What the steps of a policy do, in words for people. Rows that are only audited, dry runs and plans say it alike."""

from __future__ import annotations

from collections.abc import Iterable

from onboarding.domain.machine.machine_identity import SYSTEM
from onboarding.domain.reconcile.steps.step import StepKind, StepResult, StepState
from onboarding.domain.resource_id import fold_id, name_in


def words_of(step: StepKind, subject: str) -> str:
    """What a step does: `add the system-assigned identity`, `associate dcr-linux`, `install AgentForLinux`.
    `subject` is the id or the name of the resource, of an extension its type."""
    match step:
        case StepKind.IDENTITY:
            return f"add {spoken_identity(subject)}"
        case StepKind.ASSOCIATION:
            return f"associate {name_in(subject)}"
        case StepKind.EXTENSION:
            return f"install {subject}"
        case StepKind.REMOVAL:
            return f"remove {subject}"


def would(words: Iterable[str]) -> str:
    """What a policy would do, in the order of its steps: `would associate dcr-linux, install AgentForLinux`."""
    return f"would {', '.join(words)}"


def would_fail(step: StepKind, why: str) -> str:
    """What a step would do that cannot be done, and why."""
    return f"would fail ({step}: {why.removesuffix('.')})"


def would_do(steps: Iterable[StepResult], extension: str) -> str:
    """What the steps that an audit found missing would do, and why those that cannot be done would be refused.
    `extension` has the words of the extension's step."""
    listed = list(steps)
    wanted = [
        extension if each.step is StepKind.EXTENSION else words_of(each.step, each.subject)
        for each in listed
        if each.state is StepState.WANTED
    ]
    refused = [would_fail(each.step, each.meaning) for each in listed if each.state is StepState.REFUSED]
    return "; ".join([*([would(wanted)] if wanted else []), *refused])


def spoken_identity(identity: str) -> str:
    """What people call an identity, `system` or an id."""
    if fold_id(identity) == SYSTEM:
        return "the system-assigned identity"
    return f"the identity {name_in(identity)}"
