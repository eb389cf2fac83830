"""What the app says of itself. `/api/health`, which everybody can read, says whether it is healthy and nothing else;
`/api/health/details`, which needs a function key, says what to fix, and how the work goes on.

It names settings, not values; and of a pause neither who began it nor why, and no subscription: monitors keep what they
read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from onboarding.app import Application, Configuration
from onboarding.application.operator_requests import no_token
from onboarding.application.pause_requests import PauseRequests
from onboarding.application.ports import Arm
from onboarding.application.row_queries import counts_of_subscriptions
from onboarding.concurrency import deadline
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.limits.pause import Pause
from onboarding.domain.policy.policy import Policy

_STORAGE_S = 10.0  # for all that is read of it


def plain(body: dict[str, Any], storage_problem: str) -> dict[str, str]:
    """What everybody may know of `health` and of storage."""
    return {"status": "healthy" if body["status"] == "healthy" and not storage_problem else "unhealthy"}


async def storage_problem(application: Callable[[], Application]) -> str:
    """Why storage does not answer; empty: it does."""
    try:
        with deadline(_STORAGE_S):
            await application().ports.pauses.read_all()
    except Exception as error:  # noqa: BLE001 - it must answer after any error
        return _why(error)
    return ""


async def live(application: Callable[[], Application], now: datetime) -> dict[str, Any]:
    """How the work goes on. JSON: `storage` (why it does not answer; empty: it does), `token` (whether there is one for
    ARM), `lastEvent`, `lastSweep`, `backlog` (scheduled messages), `poison` (messages that failed too often),
    `breakers` (open ones), `pauses`. What cannot be read is null."""
    unknown = dict.fromkeys(("token", "lastEvent", "lastSweep", "backlog", "poison", "breakers", "pauses"))
    try:
        with deadline(_STORAGE_S):
            return {**unknown, "storage": "", **await _live(application(), now)}
    except Exception as error:  # noqa: BLE001 - it must answer after any error
        return {**unknown, "storage": _why(error)}


def _why(error: Exception) -> str:
    """What an error says, if it is one of ours; of another only its type: its text may hold values."""
    return str(error) if isinstance(error, StorageError) else f"cannot be read ({type(error).__name__})"


async def _live(application: Application, now: datetime) -> dict[str, Any]:
    # Imported here: only this page needs it.
    from onboarding.web.views.limits import open_breakers

    ports = application.ports
    pauses = await PauseRequests(ports.pauses, ports.clock).active()
    counts = await counts_of_subscriptions(ports.reader, now) if ports.reader is not None else []
    breakers = await open_breakers(ports.breakers, [each.subscription for each in counts])
    events = [each.activity.last_event for each in counts if each.activity and each.activity.last_event]
    sweeps = [each.days[-1].at for each in counts if each.days]
    return {
        "token": await _has_token(ports.arm),
        "lastEvent": _stamp(max(events, default=None)),
        "lastSweep": _stamp(max(sweeps, default=None)),
        "backlog": await ports.poison.backlog() if ports.poison is not None else None,
        "poison": await ports.poison.count() if ports.poison is not None else None,
        "breakers": len(breakers),
        "pauses": [_pause(each) for each in pauses],
    }


async def _has_token(arm: Arm) -> bool:
    """Whether there is a token for ARM: it is asked once, and any answer of it will do."""
    try:
        await arm.list_subscriptions()
    except ArmError as error:
        return not no_token(error)
    return True


def _stamp(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds") if time else None


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
