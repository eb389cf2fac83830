"""Scopes: the part of Azure that a policy or an exemption is about, as an ARM id whose segments may have `*` and `?`.

A management group is a scope too, but a VM's id does not show its groups: `management_groups.resolve` replaces a group
by its subscriptions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.resource_id import VmId
from onboarding.domain.typed_file import OneOrMany

_SHAPE = ("subscriptions", "resourcegroups", "providers", "virtualmachines")
_LENGTHS = (2, 4, 8)  # segments of a subscription, a group and a VM
_SEGMENT = re.compile(r"[-\w.()*?]+")  # the characters of ARM's names, and the wildcards
_FORMS = (
    "/subscriptions/<id>, …/resourceGroups/<name or glob>, the id of one VM,"
    " /providers/Microsoft.Management/managementGroups/<name>, or / for everything"
)
_MANAGEMENT = ("providers", "microsoft.management", "managementgroups")
_GROUP_NAME = re.compile(r"[-\w.()]{1,90}")


class Scope(tuple[str, ...]):
    """A management group, subscription, resource group or VM, and everything in it; without segments everything.

    Its items are the segments of the ARM id, in lower case."""

    __slots__ = ()
    file_schema: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "pattern": r"^(/|(/[^/\s]+){2}|(/[^/\s]+){4}|(/[^/\s]+){8})$",
    }

    @classmethod
    def from_file(cls, text: object) -> Scope:
        """Read a scope. Raises ConfigurationError for anything else.

        An id with an empty or missing part is refused: a group's id without its name would mean the whole
        subscription."""
        written = as_written(text, 200)
        if not isinstance(text, str) or not text.startswith("/"):
            raise ConfigurationError("", f"{written} is not a scope", f"write {_FORMS}")
        if text == "/":
            return cls()
        segments = tuple(text.lower().split("/")[1:])
        for number, segment in enumerate(segments):
            if not _SEGMENT.fullmatch(segment):
                before = "/".join(text.split("/")[: number + 1])
                what = f"the invalid name {as_written(segment)}" if segment.strip() else "an empty part"
                problem = f"{written} is not a scope: it has {what} after {as_written(f'{before}/', 200)}"
                raise ConfigurationError("", problem, f"write {_FORMS}")
        if segments[:3] == _MANAGEMENT and len(segments) == 4 and _GROUP_NAME.fullmatch(segments[3]):
            return cls(segments)
        shape = segments[0::2]
        if shape != _SHAPE[: len(shape)] or segments[5:6] not in ((), ("microsoft.compute",)):
            raise ConfigurationError("", f"{written} is not a scope", f"write {_FORMS}")
        if len(segments) not in _LENGTHS:
            problem = f"{written} is not a scope: no name follows '{segments[-1]}'"
            raise ConfigurationError("", problem, f"write {_FORMS}")
        return cls(segments)

    def contains(self, vm: VmId) -> bool:
        path = tuple(vm.key.strip("/").split("/"))
        return all(fnmatchcase(part, pattern) for part, pattern in zip(path, self, strict=False))

    @property
    def subscription(self) -> str:
        """The only subscription of the scope; empty if there may be several."""
        named = self[1] if len(self) > 1 and not self.management_group else ""
        return "" if "*" in named or "?" in named else named

    @property
    def management_group(self) -> str:
        """The name of the management group if the scope is one; else empty."""
        return self[3] if self[:3] == _MANAGEMENT else ""

    def __str__(self) -> str:
        return "/" + "/".join(self)


class Scopes(OneOrMany[Scope], item=Scope):
    """One scope or a list of them."""

    __slots__ = ()
