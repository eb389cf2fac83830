"""ARM ids of virtual machines and of their extensions.

ARM, Event Grid, Resource Graph and lists spell the same id in different case, so ids are compared and
stored by their folded form. Names must have the characters and the length that ARM allows, so every id that parses
is safe in a row key and in a URL. Parsing never raises: any other id is `None`.
"""

from __future__ import annotations

import re
import zlib
from datetime import timedelta
from functools import lru_cache

from msgspec import Struct

# No name ends in a period: `..` would be another path.
_GROUP = r"[-\w.()]{0,89}[-\w()]"
_NAME = r"[-\w.()]{0,79}[-\w()]"
_VM_ID = re.compile(
    rf"/subscriptions/(?P<subscription>[-0-9a-z_]{{1,64}})"
    rf"/resourceGroups/(?P<group>{_GROUP})"
    rf"/providers/Microsoft\.Compute/virtualMachines/(?P<name>{_NAME})"
    rf"(?:/extensions/(?P<extension>{_NAME}))?/?",
    re.IGNORECASE,
)

_ASSOCIATION = re.compile(
    r"(?P<vm>.+?)/providers/Microsoft\.Insights/dataCollectionRuleAssociations/[^/]{1,128}/?", re.IGNORECASE
)


def share_of(span: timedelta, key: str) -> timedelta:
    """The machine's own part of a span, always the same one for its key: not all machines come at once."""
    return timedelta(seconds=zlib.crc32(key.encode()) % int(span.total_seconds()))


class VmId(Struct, frozen=True):
    """One virtual machine, spelled as it came; `key` is the same for every spelling."""

    subscription: str
    resource_group: str
    name: str

    @property
    def key(self) -> str:
        return str(self).lower()

    def __str__(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Compute/virtualMachines/{self.name}"
        )


class ExtensionId(Struct, frozen=True):
    """One extension resource of a virtual machine."""

    vm: VmId
    name: str

    def __str__(self) -> str:
        return f"{self.vm}/extensions/{self.name}"


def fold_id(resource_id: str) -> str:
    """The form in which ids of any resource are compared: ARM may spell one differently each time."""
    return resource_id.strip().rstrip("/").lower()


def name_in(resource_id: str) -> str:
    """The name of the resource: the last part of its id."""
    return resource_id.rstrip("/").rpartition("/")[2]


@lru_cache(maxsize=1024)  # the same id is parsed several times in one reconciliation
def parse_id(text: str) -> VmId | ExtensionId | None:
    """The VM or VM extension that an ARM id names; None for anything else, such as an instance of a scale set."""
    match = _VM_ID.fullmatch(text.strip())
    if match is None:
        return None
    vm = VmId(match["subscription"], match["group"], match["name"])
    return ExtensionId(vm, match["extension"]) if match["extension"] else vm


def associated_vm(text: str) -> VmId | None:
    """The VM of which an id names an association with a data collection rule; None for any other id."""
    match = _ASSOCIATION.fullmatch(text.strip())
    vm = parse_id(match["vm"]) if match else None
    return vm if isinstance(vm, VmId) else None
