"""The resource group and the subscription of a machine, as far as they were read for rules that need them.

What was not read is unknown, and a rule that needs it is undecided. `application.readers.container_reader` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from types import MappingProxyType
from typing import Any, ClassVar, Final

from onboarding.domain.hidden_fields import HidingStruct
from onboarding.domain.resource_id import VmId

GROUP: Final = "resourceGroup"
SUBSCRIPTION: Final = "subscription"

# The right that each read needs.
RIGHTS: Final[Mapping[str, str]] = {
    GROUP: "Microsoft.Resources/subscriptions/resourceGroups/read",
    SUBSCRIPTION: "Microsoft.Resources/subscriptions/read",
}
# The properties that `resourceGroup()` and `subscription()` return, each with its value where ARM leaves it out.
_PROPERTIES: Final[Mapping[str, Mapping[str, Any]]] = {
    GROUP: {"id": "", "name": "", "type": "", "location": "", "tags": {}, "managedBy": None, "properties": {}},
    SUBSCRIPTION: {"id": "", "subscriptionId": "", "tenantId": "", "displayName": "", "state": "", "tags": {}},
}
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class ResourceContainers(HidingStruct, frozen=True):
    """What was read of each; empty if it was not read."""

    hidden: ClassVar[frozenset[str]] = frozenset({"resource_group", "subscription"})

    resource_group: Mapping[str, Any] = _NOTHING
    subscription: Mapping[str, Any] = _NOTHING

    def having(self, what: str, known: Mapping[str, Any]) -> ResourceContainers:
        """A copy with what is known about the group, or about the subscription."""
        return replace(self, resource_group=known) if what == GROUP else replace(self, subscription=known)


UNREAD: Final = ResourceContainers()


def id_of(what: str, vm: VmId) -> str:
    """The id of the group, or of the subscription, that a machine is in."""
    subscription = f"/subscriptions/{vm.subscription}"
    return subscription if what == SUBSCRIPTION else f"{subscription}/resourceGroups/{vm.resource_group}"


def read_properties(what: str, body: Mapping[str, Any], *, whole: bool = True) -> Mapping[str, Any]:
    """The known properties in the body of a group or of a subscription. Tags that it lacks do not exist; a name or a
    location that it lacks is unknown. Of a body that is not `whole`, such as one that a person wrote, everything that
    it lacks is unknown."""
    given = {str(key).lower(): value for key, value in body.items()}
    properties = {
        name: absent if given.get(name.lower()) is None else given[name.lower()]
        for name, absent in _PROPERTIES[what].items()
        if whole or name.lower() in given
    }
    return {name: value for name, value in properties.items() if value != ""}
