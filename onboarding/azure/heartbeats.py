"""The adapter of Log Analytics: the newest heartbeats that a workspace received from each machine's agents.

The query goes through `azure-monitor-query`, and its requests through the pipeline of those to ARM. The
package is imported at the first question: only policies that ask for heartbeats need it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from azure.core.exceptions import HttpResponseError

from onboarding.azure.arm.arm_requests import ArmRequests, as_arm_errors
from onboarding.azure.http_connections import within_deadline
from onboarding.domain.errors import ArmError, HeartbeatError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.retry_after import read_retry_after
from onboarding.domain.limits.rate_limiter import HELD_BACK

if TYPE_CHECKING:
    from azure.monitor.query import LogsQueryPartialResult, LogsQueryResult
    from azure.monitor.query.aio import LogsQueryClient

_WHOLE_WORKSPACE_TIMEOUT_S: Final = 60.0  # the sweep's question; an event's ends with its deadline
_TOO_MANY: Final = 429
# Without it the SDK reads every refusal as JSON: a proxy's page would hide its status and its Retry-After.
_AS_THEY_ARE: Final = dict.fromkeys(range(300, 600), HttpResponseError)
_USUAL_WAIT_S: Final = 30.0  # the window in which Log Analytics counts requests


class HeartbeatAdapter:
    """Implements `ports.Heartbeats`. After a refusal because of too many requests, it sends none until the time that
    the service named."""

    def __init__(self, requests: ArmRequests) -> None:
        """`requests` sends to the endpoint of Log Analytics, with tokens for it."""
        self._requests = requests
        self._not_before: datetime | None = None

    async def newest(
        self, workspace: str, machines: Sequence[str] = (), *, since: datetime
    ) -> Mapping[str, Mapping[str, datetime]]:
        self._admit()
        options = self._requests.options(None, None if machines else _WHOLE_WORKSPACE_TIMEOUT_S)
        try:
            async with as_arm_errors(), within_deadline():
                question = query(machines, since)
                answer = await self._client.query_workspace(
                    workspace, question, timespan=None, error_map=_AS_THEY_ARE, **options
                )
                return _newest(answer)
        except ArmError as error:
            self._note(error.evidence)
            raise HeartbeatError(error.evidence) from None
        except (AttributeError, LookupError, TypeError):  # the SDK reads an answer of another shape like this
            raise HeartbeatError(Evidence(code="DecodeError", message="the answer was not that of a query")) from None

    @cached_property
    def _client(self) -> LogsQueryClient:
        from azure.monitor.query.aio import LogsQueryClient

        options = self._requests.for_sdk()
        return LogsQueryClient(endpoint=options.pop("base_url"), **options)

    def _admit(self) -> None:
        now = self._requests.clock()
        if self._not_before is not None and now < self._not_before:
            left = (self._not_before - now).total_seconds()
            message = "held back: Log Analytics asked to slow down"
            raise HeartbeatError(Evidence(_TOO_MANY, HELD_BACK, message, headers={"retry-after": f"{left:.3f}"}))

    def _note(self, evidence: Evidence) -> None:
        if evidence.http_status == _TOO_MANY:
            now = self._requests.clock()
            self._not_before = now + timedelta(seconds=read_retry_after(evidence, now) or _USUAL_WAIT_S)


def query(machines: Sequence[str], since: datetime) -> str:
    """The question in KQL: the newest heartbeat by machine and category, of these machines or of all. An id is written
    as a JSON text, which is a string literal of KQL."""
    chosen = f"| where _ResourceId in~ ({', '.join(json.dumps(each) for each in machines)})\n" if machines else ""
    return (
        "Heartbeat\n"
        f"| where TimeGenerated > datetime({since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ})\n"
        f"{chosen}"
        "| summarize TimeGenerated = max(TimeGenerated) by Machine = tolower(_ResourceId), Category"
    )


def _newest(answer: LogsQueryResult | LogsQueryPartialResult) -> Mapping[str, Mapping[str, datetime]]:
    """The rows of a complete answer. Raises ArmError for an incomplete one: it may lack the newest heartbeat."""
    partial: Any = getattr(answer, "partial_error", None)
    if partial is not None:
        raise ArmError(Evidence(http_status=200, code=str(partial.code), message=str(partial.message or "")))
    found: dict[str, dict[str, datetime]] = {}
    for row in answer.tables[0].rows:  # type: ignore[union-attr]  # a partial answer was raised
        machine, category, at = row["Machine"], row["Category"], row["TimeGenerated"]
        if not isinstance(at, datetime) or not isinstance(machine, str) or not isinstance(category, str):
            raise ValueError("a row of another shape")
        if machine:  # a computer outside of Azure has no resource id
            found.setdefault(machine.lower(), {})[category] = at.astimezone(UTC)
    return found
