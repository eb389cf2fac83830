"""The client-request-id of a request to ARM: the same event asks for the same thing with the same id."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5


def request_id(event: str, machine: str, step: str) -> str:
    """The id for one step of one event on one machine. `step` names the request, and its attempt where it has one.

    A redelivered event, or an unanswered request that is sent again, has the id of the first one. So Azure's logs show
    which of several requests are the same."""
    return str(uuid5(NAMESPACE_URL, f"{event}\n{machine.lower()}\n{step}"))
