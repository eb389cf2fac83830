"""The kinds of machine, by the names that files give them."""

from __future__ import annotations

from enum import StrEnum


class MachineKind(StrEnum):
    VM = "vm"  # a virtual machine of Azure
    ARC = "arc"  # a machine elsewhere that Azure Arc manages
    SCALE_SET = "scaleSet"  # a uniform scale set, whose model is written
