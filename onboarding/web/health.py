"""The answer of `/api/health`: whether VMs can be onboarded, and if not, what to fix. It names settings, not values.

Everybody can read it, so of a pause it says neither who began it nor why, and no subscription."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from onboarding.app import Configuration
from onboarding.domain.limits.pause import Pause
from onboarding.domain.policy.policy import Policy


def health(configuration: Configuration, pauses: Sequence[Pause] | None = ()) -> dict[str, Any]:
    """JSON: `status` (`healthy` or `unhealthy`), `problems`, `policies`, `pauses`, `notices`, `version`. A pause is no
    problem, since a person wanted it; None: the pauses could not be read."""
    policies = configuration.rules.policies.policies
    active = [policy for policy in policies if not policy.inactive]
    entries = {name: configuration.rules.catalogue[name] for policy in active for name in policy.extensions}
    off = [f"{policy.off}; it installs nothing, and what is there stays" for policy in policies if policy.inactive]
    return {
        "status": "unhealthy" if configuration.problems else "healthy",
        "problems": list(configuration.problems),
        "policies": [
            {
                "name": policy.name,
                "effect": policy.effect.value,
                "extension": _extension_of(policy),
                "active": not policy.inactive,
                **({"because": policy.inactive} if policy.inactive else {}),
            }
            for policy in policies
        ],
        "pauses": None if pauses is None else [_pause(each) for each in pauses],
        "notices": [*off, *configuration.notices, *(entry.retired for entry in entries.values() if entry.retired)],
        "version": _version(),
    }


def _pause(pause: Pause) -> dict[str, str | None]:
    until = pause.until.isoformat(timespec="seconds") if pause.until else None
    return {"paused": pause.covered, "since": pause.since.isoformat(timespec="seconds"), "until": until}


def _extension_of(policy: Policy) -> str | list[str]:
    """As its file writes it: a name, or the names of one for each operating system."""
    return list(policy.extensions) if policy.one_of else policy.extension


def unreadable(error: Exception) -> dict[str, Any]:
    """The same body if settings and files could not be read. It has the error's type only: the text may hold values."""
    return {
        "status": "unhealthy",
        "problems": [f"settings and files could not be read ({type(error).__name__}); the log says more"],
        "policies": [],
        "pauses": None,
        "notices": [],
        "version": _version(),
    }


def _version() -> str:
    try:
        return version("vm-onboarding")
    except PackageNotFoundError:
        # In Azure the source runs as it is, without being installed.
        return "source"
