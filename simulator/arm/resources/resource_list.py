"""All resources of a subscription or group in ARM's common form: what every type has, without its properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.arm.http import views
from simulator.arm.insights.insights import Insights
from simulator.arm.network.interfaces import interfaces_of
from simulator.arm.platform import Platform

_COMMON = ("location", "tags", "kind", "identity", "plan", "managedBy", "zones", "sku")


@dataclass(frozen=True, slots=True)
class ListedResource:
    """One resource; `body` is its own GET."""

    body: Mapping[str, Any] = field(repr=False)
    created: str = ""

    @property
    def key(self) -> str:
        return str(self.body["id"]).lower()

    def item(self, expand: str) -> dict[str, Any]:
        """As lists show it; `expand` is the request's `$expand`."""
        item = {name: self.body[name] for name in ("id", "name", "type")}
        item |= {name: self.body[name] for name in _COMMON if name in self.body}
        wanted = {part.strip().lower() for part in expand.split(",")}
        if self.created:
            item |= {name: self.created for name in ("createdTime", "changedTime") if name.lower() in wanted}
        state = self.body.get("properties", {}).get("provisioningState")
        return item | ({"provisioningState": state} if state and "provisioningstate" in wanted else {})


def resources_of(platform: Platform, insights: Insights, subscription: str, group: str = "") -> list[ListedResource]:
    """The resources of a subscription or of one of its groups, in the order of their ids."""
    prefix = f"/subscriptions/{subscription}/".lower() + (f"resourcegroups/{group}/".lower() if group else "")
    found = (each for each in _all(platform, insights) if each.key.startswith(prefix))
    return sorted(found, key=lambda resource: resource.key)


def _all(platform: Platform, insights: Insights) -> Iterator[ListedResource]:
    for machine in platform.machines:
        created = machine.created.isoformat()
        yield ListedResource(views.vm_body(machine, platform.clock), created)
        for extension in machine.extensions.values():
            body = views.extension_body(machine, extension)
            yield ListedResource(body | {"name": f"{machine.name}/{extension.name}"})
        yield from (ListedResource(interface.body(), created) for interface in interfaces_of(machine))
    yield from (ListedResource(platform.identities.body(each)) for each in platform.identities)
    yield from (ListedResource(each.body()) for each in insights.resources)
