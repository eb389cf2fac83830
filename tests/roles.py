"""The roles of the app on machines: the custom one of docs/deploying.md, and the two optional ones of infra/."""

from __future__ import annotations

from simulator.roles import association_role, identity_role, machine_role

INSTALLER, ASSOCIATIONS, IDENTITIES = machine_role(), association_role(), identity_role()
