"""Applications on machines that get tokens from the metadata endpoint, and a record of what changes of identity did to
them.

An application that names no identity gets the system-assigned one, else the only user-assigned one, else an error. So
an identity that somebody adds can break it: it gets another identity's token, or none.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.arm.compute.spec import Application
from simulator.arm.identity.machine_identity import SYSTEM, MachineIdentity


@dataclass(frozen=True, slots=True)
class Breakage:
    """A write that took an application's token, or gave it the token of another identity."""

    vm: str
    """The VM's id in lower case."""
    application: str
    principal: str
    """Who sent the write."""
    before: str
    """The identity whose token the application got: a folded id, or `system`."""
    after: str
    """The identity whose token it gets now; empty if it gets none."""

    @property
    def lost(self) -> bool:
        """Whether it gets no token at all."""
        return not self.after


def serving(application: Application, identity: MachineIdentity) -> str:
    """The identity whose token the application gets: a folded id, `system`, or empty."""
    if application.identity:
        key = application.identity.lower()
        return key if key in identity.users else ""
    if identity.principal_id:
        return SYSTEM
    return next(iter(identity.users)) if len(identity.users) == 1 else ""


def breakages(
    vm: str, applications: tuple[Application, ...], before: MachineIdentity, after: MachineIdentity, principal: str
) -> list[Breakage]:
    """The applications that a change of identity broke. One that had no token before cannot break."""
    found = []
    for application in applications:
        had, has = serving(application, before), serving(application, after)
        new_system = had == has == SYSTEM and before.principal_id != after.principal_id
        if had and (had != has or new_system):
            found.append(Breakage(vm, application.name, principal, had, has))
    return found
