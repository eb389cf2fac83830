"""The triggers of the function app: each passes the host's input to the application, and maps the answer.

Nothing here may fail at import: that would stop every function.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import azure.functions as func

from onboarding.app import worker
from onboarding.application import notifications
from onboarding.application.messages import decode
from onboarding.concurrency import EVENT_S, deadline
from onboarding.domain.errors import ConfigurationError, StorageError
from onboarding.domain.limits.pause import Pause
from onboarding.domain.masking import cut, mask
from onboarding.logging import configure, logger
from onboarding.settings import QUEUE, events_queue, storage_connection, sweep_schedule

_HEALTH_S = 5.0  # for what the health page reads of the table

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

configure(os.environ)
_log = logger("onboarding")
# The SDKs log every request at level Information.
logging.getLogger("azure").setLevel(logging.WARNING)


@app.event_grid_trigger(arg_name="event")
async def on_resource_event(event: str) -> None:
    """Raw JSON in either schema. Returns nothing: a value would fail the invocation after the work was done."""
    await _handle(event)


async def _handle(event: str) -> None:
    notification = notifications.parse(event, datetime.now(UTC))
    if isinstance(notification, notifications.Ignored):
        _log.debug("Ignored: %s", notification.reason)
        return
    with deadline(EVENT_S):
        await worker.application.dispatcher.handle(notification)


@app.queue_trigger(arg_name="message", queue_name=QUEUE, connection=storage_connection(os.environ))
async def on_deferral(message: func.QueueMessage) -> None:
    """A scheduled check that is due, or a reconcile request.

    A text that is no such message fails, and ends in the poison queue for a person to see. A message of a newer version
    about another kind of resource is ignored."""
    request = decode(message.get_body().decode())
    if request is None:
        _log.warning("Ignored: a message about a kind of resource that this version does not know")
        return
    with deadline(EVENT_S):
        await worker.application.dispatcher.handle_message(request)


async def on_queued_event(message: func.QueueMessage) -> None:
    """An event that Event Grid sent to the storage queue, because it cannot reach an app without a public address."""
    from onboarding.application.transport.queued_events import QueuedEvents  # here, because few apps have the queue

    events = QueuedEvents(_handle, worker.event_store, lambda: datetime.now(UTC))
    await events.take(message.get_body().decode())


if _events_queue := events_queue(os.environ):
    _connection = storage_connection(os.environ)
    app.queue_trigger(arg_name="message", queue_name=_events_queue, connection=_connection)(on_queued_event)

    @app.queue_trigger(arg_name="message", queue_name=f"{_events_queue}-poison", connection=_connection)
    async def on_poisoned_event(message: func.QueueMessage) -> None:
        """A message that the host gave up, since it could not even be put back. It gets a new start."""
        await on_queued_event(message)


@app.timer_trigger(arg_name="timer", schedule=sweep_schedule(os.environ))
async def sweep(timer: func.TimerRequest) -> None:
    await worker.application.sweeper.run()


@app.route(route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def get_health(req: func.HttpRequest) -> func.HttpResponse:
    from onboarding.web.health import health, unreadable  # here, because an event needs none of it

    try:
        body = health(worker.configuration, await _pauses())
    except Exception as error:  # noqa: BLE001 - the health page must answer after any error
        _log.error("health: %s: %s", type(error).__name__, mask(cut(str(error))))
        body = unreadable(error)
    return _json(body, 200 if body["status"] == "healthy" else 503)


@app.route(route="check", methods=["GET"])
async def get_check(req: func.HttpRequest) -> func.HttpResponse:
    """Would this image be onboarded, and why? `?image=publisher:offer:sku[:version]`; see docs/supported-images.md."""
    from onboarding.application.image_check import (  # here, because an event needs none of it
        NotAnImage,
        check_query,
        used_extensions,
    )

    rules = worker.configuration.rules
    try:
        used = used_extensions(rules.policies, rules.catalogue)
        body = check_query(dict(req.params), used, rules.catalogue, rules.reference, rules.overrides)
        return _json(body, 200)
    except (NotAnImage, ConfigurationError) as error:
        return _json({"error": str(error)}, 400)


async def _pauses() -> Sequence[Pause] | None:
    """What is paused; None if that cannot be read."""
    try:
        with deadline(_HEALTH_S):
            return await worker.application.pauses.active()
    except StorageError as error:
        _log.warning("health: %s", error)
        return None


def _json(body: Mapping[str, Any], status: int) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(body, indent=2), status_code=status, mimetype="application/json")
