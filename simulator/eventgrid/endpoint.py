"""Requests to an endpoint: the handshake of a new subscription, and one delivery.

An unreachable endpoint or a missing answer is returned as an `Answer`, never raised.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import aiohttp

from simulator.eventgrid import retry, schema
from simulator.eventgrid.retry import Answer, EndpointType
from simulator.eventgrid.schema import Event, EventKind, EventSchema
from simulator.eventgrid.subscription import Subscription

_ORIGIN = "eventgrid.azure.net"


class HandshakeFailed(Exception):
    """The endpoint did not prove that it wants the events, so Azure would refuse the subscription."""


class Endpoint:
    """The endpoint of one subscription. `answer_timeout` is real time: the endpoint's work is not scaled."""

    def __init__(self, session: aiohttp.ClientSession, subscription: Subscription, answer_timeout: float) -> None:
        self._session = session
        self._subscription = subscription
        self._timeout = aiohttp.ClientTimeout(total=answer_timeout)

    async def deliver(self, events: Sequence[Event], delivery_count: int) -> Answer:
        to = self._subscription
        headers = schema.headers(
            EventKind.NOTIFICATION, to.name, to.schema, events[0], delivery_count, batched=to.batched
        )
        return (await self._post(schema.body(events, to.schema, to.batched), headers))[0]

    async def shake_hands(self, topic: str, now: datetime) -> None:
        """Prove that the endpoint wants events; CloudEvents to a plain web hook use their own protocol."""
        to = self._subscription
        if to.schema is EventSchema.CLOUD_EVENTS and to.endpoint_type is EndpointType.WEB_HOOK:
            await self._ask_permission()
        else:
            await self._send_validation(_validation_event(topic, now))

    async def _send_validation(self, event: dict[str, Any]) -> None:
        to = self._subscription
        code = event["data"]["validationCode"]
        if to.schema is EventSchema.CLOUD_EVENTS:
            event = {**event, "data": json.dumps(event["data"])}  # encoded twice, as Azure does
        headers = schema.headers(EventKind.VALIDATION, to.name, to.schema, event, 0)
        answer, body = await self._post(schema.body([event], to.schema), headers)
        if answer.status != 200 or _validation_response(body) != code:
            raise HandshakeFailed(
                f"subscription {to.name}: the endpoint answered the validation with {_shown(answer, body)}"
            )

    async def _ask_permission(self) -> None:
        """The abuse protection of the CloudEvents web hook specification."""
        headers = {"WebHook-Request-Origin": _ORIGIN}
        name = self._subscription.name
        try:
            request = self._session.options(self._subscription.endpoint, headers=headers, timeout=self._timeout)
            async with request as response:
                allowed = response.headers.get("WebHook-Allowed-Origin", "")
        except (TimeoutError, aiohttp.ClientError) as error:
            raise HandshakeFailed(f"subscription {name}: the endpoint did not answer: {type(error).__name__}") from None
        if allowed not in (_ORIGIN, "*"):
            raise HandshakeFailed(f"subscription {name}: the endpoint allows {allowed or 'no origin'}, not {_ORIGIN}")

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[Answer, str]:
        url = self._subscription.endpoint
        try:
            content = io.BytesIO(body)  # aiohttp warns about bytes as large as the largest event
            request = self._session.post(
                url, data=content, headers=headers, timeout=self._timeout, allow_redirects=False
            )
            async with request as response:
                text = await response.text(errors="replace")
                return retry.answer(response.status), text
        except TimeoutError:
            return retry.TIMED_OUT, ""
        except aiohttp.ClientError:
            return retry.UNREACHABLE, ""


def _validation_event(topic: str, now: datetime) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "topic": topic,
        "subject": "",
        "data": {"validationCode": str(uuid.uuid4())},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": schema.timestamp(now),
        "metadataVersion": "1",
        "dataVersion": "1",
    }


def _validation_response(body: str) -> str | None:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    code = answer.get("validationResponse") if isinstance(answer, dict) else None
    return code if isinstance(code, str) else None


def _shown(answer: Answer, body: str) -> str:
    return f"{answer.status or answer.outcome}: {body[:200] or '(empty)'}"
