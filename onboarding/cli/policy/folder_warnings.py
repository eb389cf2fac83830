"""What `onboard policy validate` warns of that no policy file alone shows: removals of what other policies want, and
extensions that need what no policy gives the VM.

An install and a removal of the same extension are allowed: the removal decides where both select a VM. A person should
know that, and that a removal which comes after a policy that is not there never happens. An identity or another
extension may be on the VM without a policy, so its lack is no error either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.entry_file import IdentityNeed
from onboarding.domain.errors import as_written
from onboarding.domain.machine.machine_identity import SYSTEM
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


def need_warnings(
    policies: Sequence[tuple[str, PolicyData]], catalogue: Mapping[str, CatalogueEntry]
) -> Iterator[tuple[int, ConditionError]]:
    """The same for what the extensions of policies need, as the catalogue says."""
    deployed = {name for _, data in policies if _has(data, Effect.DEPLOY) for name in _extensions(data)}
    for place, (_, data) in enumerate(policies):
        if not _has(data, Effect.DEPLOY):
            continue
        for entry in (catalogue[name] for name in _extensions(data) if name in catalogue):
            if (warning := _identity_warning(entry, data)) is not None:
                yield place, warning
            for needed in entry.needs.extensions:
                if needed not in deployed:
                    problem = f"{entry.name} needs {needed}, which no policy here installs"
                    fix = f"write a policy for {needed}, unless something else installs it; until then each VM waits"
                    yield place, ConditionError("extension", problem, fix)


def _identity_warning(entry: CatalogueEntry, data: PolicyData) -> ConditionError | None:
    need, identity = entry.needs.identity, data.get("identity")
    if need is IdentityNeed.NONE:
        return None
    if need is IdentityNeed.SYSTEM:
        given = identity.get("add", SYSTEM) if isinstance(identity, Mapping) else None
        if given == SYSTEM or (isinstance(given, str) and "{" in given):
            return None
        problem = f"{entry.name} needs the system-assigned identity, which the policy does not add"
        fix = "write `identity: {add: system}`; with `besideOthers: true` also VMs that have another get it"
        return ConditionError("identity", problem, f"{fix}. VMs that have it already are served without")
    if identity is not None:
        return None
    which = "an identity" if need is IdentityNeed.ANY else "an identity that its settings name"
    problem = f"{entry.name} needs {which}, and the policy has no `identity`"
    fix = "write `identity: {use: any, add: system}` or another; VMs that have one already are served without"
    return ConditionError("identity", problem, fix)


def _has(data: PolicyData, effect: Effect) -> bool:
    return str(data.get("effect") or Effect.DEPLOY).lower() == effect.lower()


def _extensions(data: PolicyData) -> list[str]:
    given = data.get("extension")
    return [name for name in (given if isinstance(given, list) else [given]) if isinstance(name, str)]
