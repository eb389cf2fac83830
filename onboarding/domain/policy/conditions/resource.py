"""The resource that a condition looks at: one ARM body and what is known around it.

A VM brings its extensions along as child resources, joined from `resources` (the model) and
`properties.instanceView.extensions` (what the guest agent sees). Foreign bodies never raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from onboarding.domain.policy.conditions.values import Partly, fold, property_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PROVIDERS = "/providers/"
_EMPTY: Mapping[str, Any] = MappingProxyType({})

LATEST_API_VERSION = "2025-04-01"
EXTENSIONS = "Microsoft.Compute/virtualMachines/extensions"


class Context(Struct, frozen=True):
    """What `subscription()`, `resourceGroup()`, `requestContext()`, `policy()` and `utcNow()` answer.

    Ids and names missing here are taken from the resource's own id; whatever else is missing is unknown, not null."""

    subscription: Mapping[str, Any] = _EMPTY
    resource_group: Mapping[str, Any] = _EMPTY
    request: Mapping[str, Any] = _EMPTY
    policy: Mapping[str, Any] = _EMPTY
    now: datetime = _EPOCH


_NO_CONTEXT = Context()


@dataclass(frozen=True, slots=True)
class Resource:
    """One ARM body. `known` remembers fields already looked up: rules ask for the same few over and over."""

    body: Mapping[str, Any]
    context: Context = _NO_CONTEXT
    known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def id(self) -> str:
        return text(property_of(self.body, "id"))

    @property
    def type(self) -> str:
        """The resource type as the body tells it, or else as its id does."""
        return text(property_of(self.body, "type")) or "/".join(self._segments()[::2])

    @property
    def name(self) -> str:
        return text(property_of(self.body, "name")) or next(reversed(self._segments()[1::2]), "")

    @property
    def full_name(self) -> str:
        """The name with its parents' (`vm-1/extension`), from the id where there is one."""
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
        request is not known: what events tell of people is not kept."""
        return Partly("requestContext", {"apiVersion": LATEST_API_VERSION, **self.context.request})

    def policy(self) -> Partly:
        """Of Azure's own assignment, which there is none of here."""
        return Partly("policy", self.context.policy)

    def children(self, type_: str) -> tuple[Resource, ...]:
        """The child resources of a type that the body itself carries."""
        wanted = fold(type_)
        found = [Resource(body, self.context) for body in _items(property_of(self.body, "resources"))]
        if wanted != fold(EXTENSIONS):
            return tuple(child for child in found if fold(child.type) == wanted)
        return tuple(Resource(body, self.context) for body in _extensions(self, found))

    def _segments(self) -> list[str]:
        """Types and names of the id by turns, the namespace joined to the first type."""
        start = fold(self.id).rfind(_PROVIDERS)
        parts = [part for part in self.id[start + len(_PROVIDERS) :].split("/") if part] if start >= 0 else []
        return [f"{parts[0]}/{parts[1]}", *parts[2:]] if len(parts) >= 3 and len(parts) % 2 else []


def _extensions(vm: Resource, found: list[Resource]) -> Iterator[Mapping[str, Any]]:
    view = property_of(property_of(vm.body, "properties"), "instanceView")
    seen = {fold(text(property_of(e, "name"))): e for e in _items(property_of(view, "extensions"))}
    for child in found:
        if fold(child.type).endswith("/extensions"):
            name = child.name.rpartition("/")[2]
            yield _joined(child.body, name, seen.pop(fold(name), {}), vm)
    for entry in seen.values():
        yield _joined({}, text(property_of(entry, "name")), entry, vm)


def _joined(body: Mapping[str, Any], name: str, seen: Mapping[str, Any], vm: Resource) -> Mapping[str, Any]:
    properties = property_of(body, "properties")
    told = dict(properties) if isinstance(properties, Mapping) else {}
    handler = text(property_of(seen, "type")) or text(property_of(told.get("instanceView"), "type"))
    publisher, type_ = _split_handler(handler, name)
    for key, value in (("publisher", publisher), ("type", type_), ("provisioningState", _state(seen))):
        if value and not isinstance(property_of(told, key), str):
            told[key] = value
    return {"id": f"{vm.id}/extensions/{name}", "location": vm.body.get("location"), **body} | {
        "name": name,
        "type": EXTENSIONS,
        "properties": told,
    }


def _split_handler(handler: str, name: str) -> tuple[str, str]:
    """The agent writes `publisher.type` in one word, and both may hold dots: `….MDE.Linux` is type MDE.Linux."""
    if name and fold(handler).endswith("." + fold(name)):
        return handler[: -len(name) - 1], handler[-len(name) :]
    publisher, _, type_ = handler.rpartition(".")
    return publisher, type_


def _state(seen: Mapping[str, Any]) -> str:
    for status in _items(property_of(seen, "statuses")):
        prefix, _, state = text(property_of(status, "code")).partition("/")
        if fold(prefix) == "provisioningstate" and state:
            return state.partition("/")[0].capitalize()
    return ""


def _after(resource_id: str, name: str) -> str:
    parts = resource_id.split("/")
    return next((value for key, value in pairwise(parts) if fold(key) == name), "")


def _items(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, (list, tuple)):
        yield from (item for item in value if isinstance(item, Mapping))


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""
