"""A simulator of Azure Resource Manager, the compute part that virtual machines and their extensions need."""

from __future__ import annotations

from simulator.arm.compute.extensions import Attempt, Collision
from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.spec import (
    Agent,
    Ending,
    ExtensionSpec,
    Guest,
    HandlerRun,
    Power,
    VmSpec,
    locked_package_manager,
)
from simulator.arm.events import PERSON
from simulator.arm.http.errors import ArmError
from simulator.arm.http.faults import Cut, FaultRule
from simulator.arm.http.targets import Kind
from simulator.arm.options import ConcurrentWrites, Options, ThrottleWait
from simulator.arm.simulator import ArmSimulator, Endpoints

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
