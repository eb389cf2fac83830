"""The roles of the app on machines: those of infra/roles.json."""

from __future__ import annotations

from simulator.roles import association_role, heartbeat_role, identity_role, machine_role

INSTALLER, ASSOCIATIONS, IDENTITIES = machine_role(), association_role(), identity_role()
HEARTBEATS = heartbeat_role()
