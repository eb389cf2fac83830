"""The roles of the app on machines: the custom one of docs/deploying.md, and the optional ones of infra/."""

from __future__ import annotations

from simulator.roles import association_role, heartbeat_role, identity_role, machine_role

INSTALLER, ASSOCIATIONS, IDENTITIES = machine_role(), association_role(), identity_role()
HEARTBEATS = heartbeat_role()
