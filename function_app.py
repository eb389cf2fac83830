"""The triggers of the function app: each passes the host's input to the application, and maps the answer.

Nothing here may fail at import: that would stop every function.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import azure.functions as func

from onboarding.app import worker
from onboarding.application import notifications
from onboarding.application.messages import decode
from onboarding.concurrency import EVENT_S, deadline
from onboarding.domain.errors import ConfigurationError
from onboarding.domain.masking import cut, mask
from onboarding.logging import configure, logger
from onboarding.settings import QUEUE, events_queue, storage_connection, sweep_schedule

_PAGE_S = 100.0  # for one request of the page: the host gives a request 230 s, and a retry reads and writes 50 machines

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
    """Whether all is well, and nothing else: everybody can read it."""
    from onboarding.web import health  # here, because an event needs none of it

    body = health.plain(_health(), await health.storage_problem(lambda: worker.application))
    return _json(body, 200 if body["status"] == "healthy" else 503)


@app.route(route="health/details", methods=["GET"])
async def get_health_details(req: func.HttpRequest) -> func.HttpResponse:
    """What is wrong, and how the work goes on."""
    from onboarding.web import health  # here, because an event needs none of it

    now = await health.live(lambda: worker.application, datetime.now(UTC))
    body = {**_health(), **now}
    body["status"] = health.plain(body, now["storage"])["status"]
    return _json(body, 200 if body["status"] == "healthy" else 503)


@app.route(route="ui/{*path}", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def page(req: func.HttpRequest) -> func.HttpResponse:
    """The page for people; it decides itself who may see it (`onboarding.web.access`)."""
    from onboarding.web.pages import Request, answer  # here, because an event needs none of it

    headers = {name.lower(): value for name, value in req.headers.items()}
    request = Request(req.method.upper(), req.url, headers, req.get_body() or b"")
    with deadline(_PAGE_S):
        given = await answer(request, lambda: worker.application, os.environ, datetime.now(UTC))
    body, sent = given.sent(headers.get("accept-encoding", ""))
    return func.HttpResponse(body, status_code=given.status, mimetype=given.mimetype, headers=sent)


@app.route(route="views/{name}", methods=["GET"])
async def get_view(req: func.HttpRequest) -> func.HttpResponse:
    """What a view of the page shows, as JSON, for programs: `/api/views/machines?outcome=Failed`."""
    from onboarding.web.pages import twin  # here, because an event needs none of it

    query = req.url.partition("?")[2]
    with deadline(_PAGE_S):
        given = await twin(req.route_params.get("name", ""), query, lambda: worker.application, datetime.now(UTC))
    body, sent = given.sent(req.headers.get("accept-encoding", ""))
    return func.HttpResponse(body, status_code=given.status, mimetype=given.mimetype, headers=sent)


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


def _health() -> dict[str, Any]:
    """What settings and files say."""
    from onboarding.web.health import health, unreadable

    try:
        return health(worker.configuration)
    except Exception as error:  # noqa: BLE001 - the health page must answer after any error
        _log.error("health: %s: %s", type(error).__name__, mask(cut(str(error))))
        return unreadable(error)


def _json(body: Mapping[str, Any], status: int) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(body, indent=2), status_code=status, mimetype="application/json")
