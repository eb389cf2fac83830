"""The resource group and the subscription that a machine is in, as far as they were read for rules that ask for them.

What was not read is unknown, and a rule that rests on it cannot be decided.
`application.readers.container_reader` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from onboarding.domain.resource_id import VmId

GROUP: Final = "resourceGroup"
SUBSCRIPTION: Final = "subscription"

# The right that each read takes.
RIGHTS: Final[Mapping[str, str]] = {
    GROUP: "Microsoft.Resources/subscriptions/resourceGroups/read",
    SUBSCRIPTION: "Microsoft.Resources/subscriptions/read",
}
# What the functions give, each with what it is where ARM leaves it out.
_PROPERTIES: Final[Mapping[str, Mapping[str, Any]]] = {
    GROUP: {"id": "", "name": "", "type": "", "location": "", "tags": {}, "managedBy": None, "properties": {}},
    SUBSCRIPTION: {"id": "", "subscriptionId": "", "tenantId": "", "displayName": "", "state": "", "tags": {}},
}
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ResourceContainers:
    """What was read of each; nothing where it was not."""

    resource_group: Mapping[str, Any] = field(default=_NOTHING, repr=False)
    subscription: Mapping[str, Any] = field(default=_NOTHING, repr=False)

    def having(self, what: str, known: Mapping[str, Any]) -> ResourceContainers:
        """With what is known of the group, or of the subscription."""
        return replace(self, resource_group=known) if what == GROUP else replace(self, subscription=known)


UNREAD: Final = ResourceContainers()


def id_of(what: str, vm: VmId) -> str:
    """The id of the group, or of the subscription, that a machine is in."""
    subscription = f"/subscriptions/{vm.subscription}"
    return subscription if what == SUBSCRIPTION else f"{subscription}/resourceGroups/{vm.resource_group}"


def told_by(what: str, body: Mapping[str, Any], *, whole: bool = True) -> Mapping[str, Any]:
    """What the body of a group or of a subscription tells. A tag that it lacks is not there; a name or a place that it
    lacks is not known. A body that is not `whole`, as of a list that somebody made, tells only what is in it."""
    given = {str(key).lower(): value for key, value in body.items()}
    told = {
        name: absent if given.get(name.lower()) is None else given[name.lower()]
        for name, absent in _PROPERTIES[what].items()
        if whole or name.lower() in given
    }
    return {name: value for name, value in told.items() if value != ""}
