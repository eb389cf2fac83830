"""The resource that a condition is about: one ARM body, and what is known about its group and subscription.

A VM has its extensions as child resources, joined from `resources` (the model) and
`properties.instanceView.extensions` (what the guest agent reports). No body makes it raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar

from msgspec import Struct, field

from onboarding.domain.hidden_fields import HidingStruct
from onboarding.domain.json_access import items, text
from onboarding.domain.policy.conditions.values import Partly, fold, property_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PROVIDERS = "/providers/"
_EMPTY: Mapping[str, Any] = MappingProxyType({})

LATEST_API_VERSION = "2025-04-01"
EXTENSIONS = "Microsoft.Compute/virtualMachines/extensions"


class Context(Struct, frozen=True):
    """The known values of functions. Ids and names that are missing here come from the resource's own id; everything
    else that is missing is unknown, not null."""

    subscription: Mapping[str, Any] = _EMPTY  # of `subscription()`; empty if it was not read
    resource_group: Mapping[str, Any] = _EMPTY  # of `resourceGroup()`; empty if it was not read
    request: Mapping[str, Any] = _EMPTY  # of `requestContext()`
    policy: Mapping[str, Any] = _EMPTY  # of `policy()`
    now: datetime = _EPOCH  # of `utcNow()`


_NO_CONTEXT = Context()


class Resource(HidingStruct, frozen=True, eq=False):
    """One ARM body."""

    hidden: ClassVar[frozenset[str]] = frozenset({"known"})

    body: Mapping[str, Any]
    context: Context = _NO_CONTEXT
    # A cache of fields, since rules read the same few many times.
    known: dict[Any, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return text(property_of(self.body, "id"))

    @property
    def type(self) -> str:
        """The resource type in the body, else in its id."""
        return text(property_of(self.body, "type")) or "/".join(self._segments()[::2])

    @property
    def name(self) -> str:
        return text(property_of(self.body, "name")) or next(reversed(self._segments()[1::2]), "")

    @property
    def full_name(self) -> str:
        """The name with its parents' (`vm-1/extension`), from the id if there is one."""
        return "/".join(self._segments()[1::2]) or self.name

    def subscription(self) -> Partly:
        value, read = _after(self.id, "subscriptions"), self.context.subscription
        known = {"id": f"/subscriptions/{value}", "subscriptionId": value} if value else {}
        return Partly("subscription", {**known, **read}, unread=bool(value) and not read)

    def resource_group(self) -> Partly:
        value, read = _after(self.id, "resourcegroups"), self.context.resource_group
        path = f"/subscriptions/{_after(self.id, 'subscriptions')}/resourceGroups/{value}"
        known = {"id": path, "name": value} if value else {}
        return Partly("resourceGroup", {**known, **read}, unread=bool(value) and not read)

    def request(self) -> Partly:
        """ "The latest API version is always used during compliance evaluation on existing resources." Who made the
        request is unknown: personal data in events is not kept."""
        return Partly("requestContext", {"apiVersion": LATEST_API_VERSION, **self.context.request})

    def policy(self) -> Partly:
        """Azure's own assignment, which does not exist here: all of it is unknown."""
        return Partly("policy", self.context.policy)

    def children(self, type_: str) -> tuple[Resource, ...]:
        """The child resources of a type in the body."""
        wanted = fold(type_)
        found = [Resource(body, self.context) for body in items(property_of(self.body, "resources"))]
        if wanted != fold(EXTENSIONS):
            return tuple(child for child in found if fold(child.type) == wanted)
        return tuple(Resource(body, self.context) for body in _extensions(self, found))

    def _segments(self) -> list[str]:
        """Types and names in the id, alternating, with the namespace joined to the first type."""
        start = fold(self.id).rfind(_PROVIDERS)
        parts = [part for part in self.id[start + len(_PROVIDERS) :].split("/") if part] if start >= 0 else []
        return [f"{parts[0]}/{parts[1]}", *parts[2:]] if len(parts) >= 3 and len(parts) % 2 else []


def _extensions(vm: Resource, found: list[Resource]) -> Iterator[Mapping[str, Any]]:
    view = property_of(property_of(vm.body, "properties"), "instanceView")
    seen = {fold(text(property_of(e, "name"))): e for e in items(property_of(view, "extensions"))}
    for child in found:
        if fold(child.type).endswith("/extensions"):
            name = child.name.rpartition("/")[2]
            yield _joined(child.body, name, seen.pop(fold(name), {}), vm)
    for entry in seen.values():
        yield _joined({}, text(property_of(entry, "name")), entry, vm)


def _joined(body: Mapping[str, Any], name: str, seen: Mapping[str, Any], vm: Resource) -> Mapping[str, Any]:
    given = property_of(body, "properties")
    properties = dict(given) if isinstance(given, Mapping) else {}
    handler = text(property_of(seen, "type")) or text(property_of(properties.get("instanceView"), "type"))
    publisher, type_ = _split_handler(handler, name)
    for key, value in (("publisher", publisher), ("type", type_), ("provisioningState", _state(seen))):
        if value and not isinstance(property_of(properties, key), str):
            properties[key] = value
    return {"id": f"{vm.id}/extensions/{name}", "location": vm.body.get("location"), **body} | {
        "name": name,
        "type": EXTENSIONS,
        "properties": properties,
    }


def _split_handler(handler: str, name: str) -> tuple[str, str]:
    """Publisher and type. The agent writes them as one word, and both may have dots: `….Agent.Linux` is type
    Agent.Linux if the extension has that name."""
    if name and fold(handler).endswith("." + fold(name)):
        return handler[: -len(name) - 1], handler[-len(name) :]
    publisher, _, type_ = handler.rpartition(".")
    return publisher, type_


def _state(seen: Mapping[str, Any]) -> str:
    for status in items(property_of(seen, "statuses")):
        prefix, _, state = text(property_of(status, "code")).partition("/")
        if fold(prefix) == "provisioningstate" and state:
            return state.partition("/")[0].capitalize()
    return ""


def _after(resource_id: str, name: str) -> str:
    parts = resource_id.split("/")
    return next((value for key, value in pairwise(parts) if fold(key) == name), "")
