"""What a person asks for beyond what the automatic way does by itself. It opens a row that was final; it never
overrides what policy or an operating system forbids."""

from __future__ import annotations

from msgspec import Struct


class Asked(Struct, frozen=True):
    """`policy` keeps to what that policy decides; `force` takes an operating system that nothing tells for a supported
    one; `reconnect` moves a VM that reports to another workspace."""

    policy: str = ""
    force: bool = False
    reconnect: bool = False
