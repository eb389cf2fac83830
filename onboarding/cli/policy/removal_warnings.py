"""What `onboard policy validate` warns of where policies remove extensions: what they have in common with other files.

An install and a removal of the same extension are allowed: the removal decides where both select a VM. A person should
know that, and that a removal which comes after a policy that is not there never happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onboarding.domain.errors import as_written
from onboarding.domain.policy.conditions import ConditionError
from onboarding.domain.policy.policy import Effect

type PolicyData = Mapping[str, Any]


def removal_warnings(policies: Sequence[tuple[str, PolicyData]]) -> Iterator[tuple[int, ConditionError]]:
    """The warnings on the policies of one folder, each with the place of its policy in the list. A policy is given by
    the name of its file and by what the file says, which may have any form."""
    for place, (_, data) in enumerate(policies):
        if not _has(data, Effect.REMOVE):
            continue
        for file, other in policies:
            both = [name for name in _extensions(data) if name in _extensions(other)]
            if both and (_has(other, Effect.DEPLOY) or _has(other, Effect.AUDIT)):
                problem = f"it removes {', '.join(both)}, which policy {as_written(other.get('name'))} in {file} wants"
                fix = "on each VM that both select, the removal decides; narrow one of them if you do not want that"
                yield place, ConditionError("extension", problem, fix)
        after = data.get("onlyAfter")
        named = after.get("policy") if isinstance(after, Mapping) else None
        if isinstance(named, str) and named not in [other.get("name") for _, other in policies]:
            problem = f"no file here has the policy {as_written(named)}, so nothing is ever removed"
            yield place, ConditionError("onlyAfter.policy", problem, "write the name of the policy of the other agent")


def _has(data: PolicyData, effect: Effect) -> bool:
    return str(data.get("effect") or Effect.DEPLOY).lower() == effect.lower()


def _extensions(data: PolicyData) -> list[str]:
    given = data.get("extension")
    return [name for name in (given if isinstance(given, list) else [given]) if isinstance(name, str)]
