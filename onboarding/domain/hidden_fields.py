"""Values with fields that a log line or an error must not show: foreign texts, secrets, whole bodies of ARM.

A dataclass can hide a field too, but makes its methods from source text when its module is imported, which takes forty
times as long.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct


class HidingStruct(Struct, frozen=True):
    """A struct whose `hidden` fields are left out of its `repr`, and of what rich shows."""

    hidden: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self.hidden]
