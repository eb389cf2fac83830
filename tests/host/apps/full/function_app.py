"""An app with every kind of trigger; `GET /api/seen` returns what the functions saw."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
seen: list[dict[str, Any]] = []


def _note(function: str, **what: Any) -> None:
    seen.append({"function": function, "at": datetime.now(UTC).timestamp(), **what})


@app.event_grid_trigger(arg_name="event")
async def on_event(event: str) -> None:
    parsed = json.loads(event)
    data = parsed["data"]
    await asyncio.sleep(data.get("sleep", 0))
    _note("on_event", event=parsed)
    logging.getLogger("app").info("seen %s", parsed["id"])
    if data.get("fail"):
        raise ValueError(f"cannot take {parsed['id']}")


@app.event_grid_trigger(arg_name="event")
def in_thread(event: func.EventGridEvent) -> None:
    time.sleep(0.05)
    logging.getLogger("app").info("from a thread")
    _note("in_thread", event=event.get_json())


@app.event_grid_trigger(arg_name="event")
async def loud(event: str) -> None:
    logging.getLogger("app").warning("not to be seen")
    _note("loud")


@app.queue_trigger(arg_name="message", queue_name="%WORK_QUEUE%", connection="AzureWebJobsStorage")
async def on_message(message: func.QueueMessage) -> None:
    text = message.get_body().decode()
    _note("on_message", text=text, dequeue_count=message.dequeue_count, id=message.id)
    if text == "bad" or (text == "once" and message.dequeue_count == 1):
        raise RuntimeError("not this one")


@app.timer_trigger(arg_name="timer", schedule="%TICK%", run_on_startup=True)
async def tick(timer: func.TimerRequest) -> None:
    status = timer.schedule_status  # type: ignore[attr-defined]  # the published type leaves it out
    _note("tick", past_due=timer.past_due, status=status)


@app.route(route="seen", auth_level=func.AuthLevel.ANONYMOUS)
async def what_was_seen(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")


@app.route(route="vms/{name}/{age:int?}", methods=["GET", "PUT"])
async def vm(req: func.HttpRequest) -> func.HttpResponse:
    fields = {"method": req.method, "route": dict(req.route_params), "query": dict(req.params)}
    body = json.dumps({**fields, "body": req.get_body().decode()})
    return func.HttpResponse(body, status_code=207, headers={"x-told": "yes"}, mimetype="application/json")


@app.route(route="secret", auth_level=func.AuthLevel.ADMIN)
def secret(req: func.HttpRequest) -> str:
    return "only for admins"


@app.route(route="failing", auth_level=func.AuthLevel.ANONYMOUS)
def failing(req: func.HttpRequest) -> str:
    raise KeyError("of the app")


@app.route(route="endless", auth_level=func.AuthLevel.ANONYMOUS)
async def endless(req: func.HttpRequest) -> str:
    await asyncio.sleep(3600)
    return "never"
