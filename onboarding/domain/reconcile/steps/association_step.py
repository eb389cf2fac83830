"""The association step: the data collection rules, and the endpoint, that a machine is associated with.

An association to the same rule is done, whatever its name. Ours have a name that is made from the rule's id, so the
same request twice changes nothing. Other people's associations are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from onboarding.domain.json_access import digest, mapping, text
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import VmId, fold_id

API_VERSION = "2022-06-01"
"""Of Microsoft.Insights: a version of Compute is refused below a machine's path, and this one on the machine."""
ENDPOINT_NAME = "configurationAccessEndpoint"
"""The name that an association to an endpoint must have, so a machine has at most one."""
_HELD_FOR = timedelta(hours=24)


class AssociationNeed(Struct, frozen=True):
    """What one policy wants a machine to be associated with."""

    rules: tuple[str, ...] = ()
    """The ids of data collection rules."""
    endpoint: str = ""
    """The id of a data collection endpoint; empty for none."""

    @property
    def subjects(self) -> tuple[str, ...]:
        return (*self.rules, *((self.endpoint,) if self.endpoint else ()))


class Associations(Struct, frozen=True):
    """What is known of a machine's associations, as the machine's own row keeps it."""

    at: datetime
    """When they were read or written (UTC)."""
    complete: bool
    """Whether they come from a list; else they are only those that we wrote."""
    rules: frozenset[str] = frozenset()
    """The ids of the rules, folded."""
    endpoint: str = ""
    """The id of the endpoint, folded; empty for none."""

    def fresh(self, now: datetime) -> bool:
        """Whether they may be relied on; a deletion that no event reported is found within a day."""
        return now - self.at < _HELD_FOR

    def has(self, subject: str, *, endpoint: bool = False) -> bool:
        return fold_id(subject) == self.endpoint if endpoint else fold_id(subject) in self.rules

    def lacks(self, need: AssociationNeed) -> bool:
        """Whether one that the policy wants is missing."""
        without_endpoint = bool(need.endpoint) and not self.has(need.endpoint, endpoint=True)
        return without_endpoint or not all(map(self.has, need.rules))

    def with_one(self, subject: str, *, endpoint: bool = False) -> Associations:
        """With one that was just written."""
        rules = self.rules if endpoint else self.rules | {fold_id(subject)}
        return Associations(self.at, self.complete, rules, fold_id(subject) if endpoint else self.endpoint)


def read_associations(bodies: Iterable[object], at: datetime) -> Associations:
    """Read the items of ARM's list."""
    rules, endpoint = set[str](), ""
    for body in bodies:
        properties = mapping(mapping(body).get("properties"))
        if rule := text(properties.get("dataCollectionRuleId")):
            rules.add(fold_id(rule))
        if there := text(properties.get("dataCollectionEndpointId")):
            endpoint = fold_id(there)
    return Associations(at, True, frozenset(rules), endpoint)


def needs_list(needs: Sequence[AssociationNeed], known: Associations | None, *, new: bool, now: datetime) -> bool:
    """Whether the machine's associations have to be listed first. A new machine has none, so ours are written at once;
    an endpoint could overwrite somebody else's, so it is always looked for."""
    held = known if known is not None and known.fresh(now) else None
    for need in needs:
        if need.endpoint and (held is None or (not held.complete and not held.has(need.endpoint, endpoint=True))):
            return True
        if not new and any(held is None or (not held.has(rule) and not held.complete) for rule in need.rules):
            return True
    return False


def conflicting_endpoint(need: AssociationNeed, known: Associations | None) -> str:
    """The id of another endpoint that the machine is associated with; empty for none. It is never replaced."""
    if not need.endpoint or known is None or not known.endpoint or known.has(need.endpoint, endpoint=True):
        return ""
    return known.endpoint


def association_request(vm: VmId, subject: str, *, endpoint: bool = False) -> ArmRequest:
    """The PUT that associates the machine with a rule or an endpoint. It is done when ARM answers 200 (it was there)
    or 201 (it is ours)."""
    name = ENDPOINT_NAME if endpoint else f"onboarding-{digest(fold_id(subject))}"
    key = "dataCollectionEndpointId" if endpoint else "dataCollectionRuleId"
    properties: dict[str, Any] = {key: subject}
    if not endpoint:
        properties["description"] = "Written by vm-onboarding, since a policy asks for it."
    path = f"{vm}/providers/Microsoft.Insights/dataCollectionRuleAssociations/{name}"
    return ArmRequest("PUT", path, {"properties": properties})


def to_column(associations: Associations | None) -> str:
    """As the machine's own row keeps them; empty for none."""
    if associations is None:
        return ""
    kept: Mapping[str, Any] = {
        "at": associations.at.isoformat(),
        "complete": associations.complete,
        "rules": sorted(associations.rules),
        "endpoint": associations.endpoint,
    }
    return msgspec.json.encode(kept).decode()


def from_column(value: str) -> Associations | None:
    """The associations of the column; None if it is empty or cannot be read."""
    if not value:
        return None
    try:
        return msgspec.json.decode(value, type=Associations)
    except msgspec.DecodeError:  # also a ValidationError
        return None
