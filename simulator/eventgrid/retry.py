"""When Event Grid tries again: its published schedule, the delays for particular answers, and when it gives up.

All durations are simulated seconds; the caller's clock converts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_MINUTE = 60.0
_HOUR = 60 * _MINUTE

SCHEDULE = (10.0, 30.0, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR)
SUCCESS = frozenset({200, 201, 202, 203, 204})

_NEVER_AGAIN = frozenset({400, 403, 413})
_AT_LEAST = {401: 5 * _MINUTE, 404: 5 * _MINUTE, 408: 2 * _MINUTE, 503: 30.0}
_PROBATION = {
    "Busy": 10.0,
    "TimedOut": 10.0,
    "SocketError": 30.0,
    "NotFound": 5 * _MINUTE,
    "Unauthorized": 5 * _MINUTE,
    "Forbidden": 5 * _MINUTE,
}
_OUTCOMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    408: "TimedOut",
    413: "PayloadTooLarge",
    429: "Busy",
    503: "Busy",
}


class EndpointType(StrEnum):
    """The kind of endpoint; a web hook that answers 401 is not tried again, an Azure resource is."""

    WEB_HOOK = "WebHook"
    AZURE_FUNCTION = "AzureFunction"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long Event Grid tries to deliver one event: until the first limit is reached."""

    max_delivery_attempts: int = 30
    event_time_to_live_minutes: int = 1440

    def __post_init__(self) -> None:
        if not 1 <= self.max_delivery_attempts <= 30:
            raise ValueError(f"max_delivery_attempts must be 1 to 30, not {self.max_delivery_attempts}")
        if not 1 <= self.event_time_to_live_minutes <= 1440:
            raise ValueError(f"event_time_to_live_minutes must be 1 to 1440, not {self.event_time_to_live_minutes}")

    @property
    def time_to_live(self) -> float:
        """In seconds."""
        return self.event_time_to_live_minutes * _MINUTE


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one delivery; without an answer there is no status, and `outcome` has the reason."""

    status: int | None
    outcome: str

    @property
    def accepted(self) -> bool:
        return self.status in SUCCESS


TIMED_OUT = Answer(None, "TimedOut")
UNREACHABLE = Answer(None, "SocketError")


def answer(status: int) -> Answer:
    return Answer(status, "Succeeded" if status in SUCCESS else _OUTCOMES.get(status, "GenericError"))


def delay(attempt: int, failed: Answer, endpoint: EndpointType) -> float | None:
    """Seconds to wait after the failed attempt (the first is 1); None: it is not tried again."""
    if _is_final(failed.status, endpoint):
        return None
    step = SCHEDULE[min(attempt, len(SCHEDULE)) - 1]
    return max(step, _AT_LEAST.get(failed.status or 0, 0.0))


def probation(failed: Answer) -> float:
    """Seconds for which new deliveries to the endpoint have to wait too."""
    return _PROBATION.get(failed.outcome, 0.0)


def refusal_reason(failed: Answer) -> str:
    return f"UndeliverableDueToHttp{failed.outcome}"


def _is_final(status: int | None, endpoint: EndpointType) -> bool:
    return status in _NEVER_AGAIN or (status == 401 and endpoint is EndpointType.WEB_HOOK)
