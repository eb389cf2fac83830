"""Scopes: which part of Azure a policy or an exemption speaks of, as an ARM id whose segments may hold `*` and `?`.

A management group is a scope too, but no VM's id tells that it is in one: `management_groups.resolve` puts the
subscriptions in its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from onboarding.core.errors import ConfigurationError
from onboarding.core.resource_id import VmId

_SHAPE = ("subscriptions", "resourcegroups", "providers", "virtualmachines")
_FORMS = (
    "/subscriptions/<id>, …/resourceGroups/<name or glob>, the id of one VM,"
    " or /providers/Microsoft.Management/managementGroups/<name>"
)
_MANAGEMENT = ("providers", "microsoft.management", "managementgroups")
_GROUP_NAME = re.compile(r"[-\w.()]{1,90}")


@dataclass(frozen=True, slots=True)
class Scope:
    """A management group, subscription, resource group or VM, and all that is in it; `/` is everything."""

    segments: tuple[str, ...]

    def contains(self, vm: VmId) -> bool:
        path = tuple(vm.key.strip("/").split("/"))
        return all(fnmatchcase(part, pattern) for part, pattern in zip(path, self.segments, strict=False))

    @property
    def subscription(self) -> str:
        """The one subscription that the scope is in; empty if it may be in several."""
        named = self.segments[1] if len(self.segments) > 1 and not self.management_group else ""
        return "" if "*" in named or "?" in named else named

    @property
    def management_group(self) -> str:
        """The name of the management group that the scope is; empty if it is none."""
        return self.segments[3] if self.segments[:3] == _MANAGEMENT else ""

    def __str__(self) -> str:
        return "/" + "/".join(self.segments)


def parse_scope(text: object, place: str) -> Scope:
    """Read a scope; what is no such id is an error that names `place`."""
    if not isinstance(text, str) or not text.startswith("/"):
        raise ConfigurationError(place, f"{text!r} is no scope", f"write {_FORMS}")
    segments = tuple(part for part in text.lower().strip("/").split("/") if part)
    if segments[:3] == _MANAGEMENT and len(segments) == 4 and _GROUP_NAME.fullmatch(segments[3]):
        return Scope(segments)
    shape = segments[0::2]
    if shape != _SHAPE[: len(shape)] or segments[5:6] not in ((), ("microsoft.compute",)):
        raise ConfigurationError(place, f"{text!r} is no scope", f"write {_FORMS}")
    return Scope(segments)
