"""The identity step: which identities a machine needs for all its policies, and the one PATCH that adds them.

Adding an identity can break applications on the machine: a client that names no identity gets the system-assigned one,
else the only user-assigned one, else an error. So nothing is added beside another identity unless the policy that wants
it says so, and nothing is ever taken away: `type` in the PATCH is absolute, and ids merge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from onboarding.domain.catalog.entry_file import IdentityNeed as EntryNeed
from onboarding.domain.errors import as_written
from onboarding.domain.machine.machine_identity import SYSTEM, MachineIdentity
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.reconcile.steps.step_words import spoken_identity
from onboarding.domain.resource_id import VmId, fold_id
from onboarding.domain.typed_file import FileMapping, Refused

_USER_IDENTITY = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.managedidentity/userassignedidentities/[^/]+",
    re.IGNORECASE,
)

NONE = "none"
"""As `add`: none is added."""
_NO_SYSTEM = (
    "the extension needs the system-assigned identity, which the machine does not have and the policy does not add"
    " (`identity: {add: system}` does)"
)


class IdentityUse(StrEnum):
    """Which identity serves."""

    ANY = "any"  # whatever is there
    SOLE = "sole"  # a user-assigned one that is the machine's only identity; else the one that the policy adds
    ADDED = "added"  # only the one that the policy adds


class IdentityNeed(FileMapping, frozen=True):
    """What one policy wants of a machine's identities."""

    what: ClassVar[str] = "an identity need"

    use: Annotated[
        IdentityUse,
        Meta(
            description="Which identity serves: any that is there; sole, a user-assigned one without others beside it,"
            " or else the one that the policy adds; added, only the one that the policy adds.",
            extra={"one": "use", "many": "uses"},
        ),
    ] = IdentityUse.ANY
    add: Annotated[
        str,
        Meta(
            description="What is added where none serves: system, the id of a user-assigned identity, or none. {NAME}"
            " stands for an app setting; one that is not set means system.",
        ),
    ] = SYSTEM
    beside_others: Annotated[
        bool,
        Meta(
            description="Whether it is added to a machine that has other identities. An application that names no"
            " identity may then lose its token.",
        ),
    ] = False

    def __post_init__(self) -> None:
        if self.use is not IdentityUse.ANY and self.add in ("", NONE):
            raise Refused("add", "the policy uses only the identity that it adds, and adds none", "name one, or system")
        if self.add not in ("", NONE, SYSTEM) and not self.add.startswith(("/subscriptions/", "{")):
            problem = f"{as_written(self.add)} is not an identity"
            raise Refused("add", problem, "write system, none, the id of a user-assigned identity, or {AN_APP_SETTING}")


class RestrictedNeed(IdentityNeed, frozen=True):
    """What a policy wants of a machine's identities for an extension that does not take every one."""

    of_entry: EntryNeed = EntryNeed.ANY
    """`system`: only the system-assigned one serves. `named`: the settings name a user-assigned one, also where it is
    the only one."""


class Fit(Struct, frozen=True):
    """How a machine's identities meet one policy's need."""

    identity: str = ""
    """The one that serves, `system` or an id; empty if none does."""
    there: bool = False
    """Whether the machine has it already; else the PATCH adds it."""
    named: bool = False
    """Whether the settings must name it for the agent."""
    conflict: str = ""
    """Why no identity serves and none may be added; empty if one does."""


class IdentityPlan(Struct, frozen=True):
    """What the machine's identities must become."""

    fits: tuple[Fit, ...]
    """For each need, in the order of the needs."""
    added: tuple[str, ...] = ()
    """The identities to add, `system` or ids as the policies spell them; empty: nothing to send."""
    lost: frozenset[str] = frozenset()
    """Identities that were there before our PATCH and are missing now, folded."""


def plan_identity(
    has: MachineIdentity,
    needs: Sequence[IdentityNeed],
    *,
    seen: frozenset[str] = frozenset(),
    refused: frozenset[str] = frozenset(),
) -> IdentityPlan:
    """The smallest union of identities that meets all needs: first what policies insist on, in their order, then those
    that take any. `seen` are the identities before our last PATCH, `refused` those that ARM named in a refusal; both
    folded. With a lost identity nothing more is added."""
    lost = seen - has.names
    union: dict[str, str] = {name: has.users.get(name, name) for name in sorted(has.names)}
    added: dict[str, str] = {}
    fits: dict[int, Fit] = {}
    for place in _in_order(needs):
        need = needs[place]
        fit = _fit(need, union, added, has, refused if not lost else refused | {fold_id(need.add)})
        if fit.identity and not fit.there and fold_id(fit.identity) not in union:
            added[fold_id(fit.identity)] = fit.identity
            union[fold_id(fit.identity)] = fit.identity
        fits[place] = fit
    final = tuple(_with_name(fits[place], needs[place], union) for place in range(len(needs)))
    return IdentityPlan(final, tuple(added.values()), lost)


def identity_request(vm: VmId, has: MachineIdentity, added: Sequence[str], etag: str) -> ArmRequest:
    """The PATCH that adds these identities and keeps all others."""
    system = has.system or SYSTEM in added
    users: dict[str, Any] = {identity: {} for identity in added if identity != SYSTEM}
    kinds = [*(["SystemAssigned"] if system else []), *(["UserAssigned"] if users or has.users else [])]
    identity: dict[str, Any] = {"type": ", ".join(kinds)}
    if users:
        identity["userAssignedIdentities"] = users
    return ArmRequest("PATCH", str(vm), {"identity": identity}, etag)


def named_identity(fit: Fit) -> str:
    """The id that the templates `{identity.*}` stand for; empty where the agent knows without a name."""
    return fit.identity if fit.named and fit.identity != SYSTEM else ""


def misnamed(has: MachineIdentity, fit: Fit, there: object, wanted: object) -> str:
    """Why an extension with the settings `there` does not get the token of an identity of the machine, and would with
    those that are `wanted`; empty if it gets one, or if its settings name identities in another way than by id."""
    named = _ids_in(there)
    if gone := sorted(named.keys() - has.names):
        return f"its settings name {spoken_identity(named[gone[0]])}, which the machine does not have"
    if fit.named and not named and _ids_in(wanted):
        return "its settings name no identity, and the machine has several"
    return ""


def _ids_in(settings: object) -> dict[str, str]:
    """The ids of user-assigned identities among these values, by their folded form."""
    found: dict[str, str] = {}
    values = [settings]
    while values:
        value = values.pop()
        if isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, str) and _USER_IDENTITY.fullmatch(value):
            found[fold_id(value)] = value
    return found


def _in_order(needs: Sequence[IdentityNeed]) -> list[int]:
    """Those that insist first: what takes another identity has to see all that the machine will have."""

    def takes_others(place: int) -> int:
        insists = needs[place].use is IdentityUse.ADDED or _of_entry(needs[place]) is EntryNeed.SYSTEM
        return 0 if insists else 1 if needs[place].use is IdentityUse.SOLE else 2

    return sorted(range(len(needs)), key=takes_others)


def _of_entry(need: IdentityNeed) -> EntryNeed:
    return need.of_entry if isinstance(need, RestrictedNeed) else EntryNeed.ANY


def _fit(
    need: IdentityNeed,
    union: Mapping[str, str],
    added: Mapping[str, str],
    has: MachineIdentity,
    refused: frozenset[str],
) -> Fit:
    wanted = "" if need.add == NONE else fold_id(need.add)
    if _of_entry(need) is EntryNeed.SYSTEM:
        if SYSTEM in union:
            return Fit(SYSTEM, there=has.system)
        if wanted != SYSTEM:
            return Fit(conflict=_NO_SYSTEM)
    elif need.use is IdentityUse.ANY and union:
        named = _of_entry(need) is EntryNeed.NAMED
        users = {each: identity for each, identity in union.items() if each != SYSTEM}
        chosen = _chosen(users if named and users else union, wanted)
        return Fit(union[chosen], there=chosen in has.names)
    elif need.use is IdentityUse.SOLE and len(union) == 1 and SYSTEM not in union:
        return Fit(next(iter(union.values())), there=next(iter(union)) in has.names)
    if wanted in union and wanted:
        return Fit(union[wanted], there=wanted in has.names)
    if need.add in ("", NONE):
        return Fit(conflict="the machine has no identity, and the policy adds none")
    if wanted in refused:
        return Fit(conflict=f"ARM refused to add {spoken_identity(need.add)}")
    if union and not need.beside_others:
        others, ours = ", ".join(spoken_identity(each) for each in union.values()), spoken_identity(need.add)
        return Fit(conflict=f"it has {others}, and the policy does not say that {ours} may stand beside others")
    return Fit(need.add)


def _chosen(union: Mapping[str, str], wanted: str) -> str:
    """Of several identities: the policy's own, else the system's, else the first by name."""
    if wanted in union:
        return wanted
    return SYSTEM if SYSTEM in union else min(union)


def _with_name(fit: Fit, need: IdentityNeed, union: Mapping[str, str]) -> Fit:
    """With whether the settings must name it: without a name it takes the system's, else the only one."""
    if not fit.identity:
        return fit
    user = fold_id(fit.identity) != SYSTEM
    always = need.use is IdentityUse.ADDED or _of_entry(need) is EntryNeed.NAMED
    named = user and (always or SYSTEM in union or len(union) > 1)
    return Fit(fit.identity, fit.there, named)
