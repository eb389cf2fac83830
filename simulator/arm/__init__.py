"""A simulator of Azure Resource Manager, the compute part that virtual machines and their extensions need."""

from __future__ import annotations

from simulator.arm.errors import ArmError
from simulator.arm.events import PERSON
from simulator.arm.extensions import Attempt, Collision
from simulator.arm.faults import Cut, FaultRule
from simulator.arm.machines import Extension, Machine
from simulator.arm.options import ConcurrentWrites, Options, ThrottleWait
from simulator.arm.simulator import ArmSimulator, Endpoints
from simulator.arm.spec import (
    Agent,
    Ending,
    ExtensionSpec,
    Guest,
    HandlerRun,
    Power,
    VmSpec,
    locked_package_manager,
)
from simulator.arm.targets import Kind

__all__ = [
    "PERSON",
    "Agent",
    "ArmError",
    "ArmSimulator",
    "Attempt",
    "Collision",
    "ConcurrentWrites",
    "Cut",
    "Ending",
    "Endpoints",
    "Extension",
    "ExtensionSpec",
    "FaultRule",
    "Guest",
    "HandlerRun",
    "Kind",
    "Machine",
    "Options",
    "Power",
    "ThrottleWait",
    "VmSpec",
    "locked_package_manager",
]
