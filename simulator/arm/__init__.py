"""A simulator of Azure Resource Manager, the compute part that virtual machines and their extensions need."""

from __future__ import annotations

from simulator.arm.actions import NeededAction, Role, read_role
from simulator.arm.compute.extensions import Attempt, Collision
from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.spec import (
    Agent,
    Application,
    Ending,
    ExtensionSpec,
    Guest,
    HandlerRun,
    Power,
    Uninstall,
    VmSpec,
    locked_package_manager,
)
from simulator.arm.events import PERSON
from simulator.arm.http.errors import ArmError
from simulator.arm.http.faults import Cut, FaultRule
from simulator.arm.http.targets import Kind
from simulator.arm.identity.applications import Breakage
from simulator.arm.insights.data_flow import DataFlow, Obstacle
from simulator.arm.insights.sending import Gap
from simulator.arm.insights.workspaces import Workspace
from simulator.arm.options import ConcurrentWrites, Options, ThrottleWait
from simulator.arm.parties.agents import EngineHabits, PolicyEngine, Remover, RemoverHabits
from simulator.arm.parties.second_party import Habits, SecondParty
from simulator.arm.simulator import ArmSimulator, Endpoints

__all__ = [
    "PERSON",
    "Agent",
    "Application",
    "ArmError",
    "ArmSimulator",
    "Attempt",
    "Breakage",
    "Collision",
    "ConcurrentWrites",
    "Cut",
    "DataFlow",
    "Ending",
    "Endpoints",
    "EngineHabits",
    "Extension",
    "ExtensionSpec",
    "FaultRule",
    "Gap",
    "Guest",
    "Habits",
    "HandlerRun",
    "Kind",
    "Machine",
    "NeededAction",
    "Obstacle",
    "Options",
    "PolicyEngine",
    "Power",
    "Remover",
    "RemoverHabits",
    "Role",
    "SecondParty",
    "ThrottleWait",
    "Uninstall",
    "VmSpec",
    "Workspace",
    "locked_package_manager",
    "read_role",
]
