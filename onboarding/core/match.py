"""What a condition says of a machine: it holds, it does not, or nobody can tell."""

from __future__ import annotations

from msgspec import Struct


class Match(Struct, frozen=True):
    """`holds` is None where it cannot be decided. `why` is there unless it holds; `unread` says which of
    `resourceGroup` and `subscription` would have to be read to tell, and is empty where neither helps."""

    holds: bool | None
    why: str = ""
    unread: str = ""
