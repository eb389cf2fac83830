"""Events that come by a storage queue: in either schema and either encoding, on Event Grid's schedule through an
outage, and after a day among the undeliverable events. The queue forgets a message only when the handler says so."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from onboarding.application import notifications
from onboarding.application.transport.queued_events import MOST_TRIES, SCHEDULE, QueuedEvents
from onboarding.domain.errors import StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome
from simulator.eventgrid.schema import to_cloud_event
from tests.flow.world import START, SUBSCRIPTION, World

SAMPLES = Path(__file__).parents[3] / "samples" / "events"
OUTAGE = timedelta(minutes=10)


def creation(name: str = "web01") -> dict[str, Any]:
    """The event of a new VM, with the personal data that real ones have."""
    vm = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/app-rg/providers/Microsoft.Compute/virtualMachines/{name}"
    return {
        "id": f"event-of-{name}",
        "topic": f"/subscriptions/{SUBSCRIPTION}",
        "subject": vm,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": START.isoformat(),
        "dataVersion": "2",
        "metadataVersion": "1",
        "data": {
            "operationName": "Microsoft.Compute/virtualMachines/write",
            "resourceUri": vm,
            "correlationId": "correlation",
            "claims": {"name": "Somebody Real"},
        },
    }


@dataclass
class Queue:
    """The queue and the container, and a host that gives a message five tries, as the queue extension does."""

    world: World
    waiting: list[tuple[datetime, str, int]] = field(default_factory=list)  # visible from, text, how often received
    stored: dict[str, bytes] = field(default_factory=dict)
    poisoned: list[str] = field(default_factory=list)
    handled: list[datetime] = field(default_factory=list)
    reachable: bool = True

    def __post_init__(self) -> None:
        self.events = QueuedEvents(self._handle, lambda: self, lambda: self.world.now)

    async def _handle(self, event: str) -> None:
        self.handled.append(self.world.now)
        await self.world.dispatcher.handle(notifications.parse(event, self.world.now))

    async def put_back(self, text: str, hidden: timedelta) -> None:
        self._check()
        self.waiting.append((self.world.now + hidden, text, 0))

    async def store(self, path: str, content: bytes) -> None:
        self._check()
        self.stored[path] = content

    def _check(self) -> None:
        if not self.reachable:
            raise StorageError("the queue could not be reached")

    def send(self, text: str) -> None:
        self.waiting.append((self.world.now, text, 0))

    async def run(self, until: datetime) -> None:
        """Deliver what becomes visible, in order of time."""
        while due := [each for each in self.waiting if each[0] <= until]:
            first = min(due)
            self.waiting.remove(first)
            self.world.now = max(self.world.now, first[0])
            try:
                await self.events.take(first[1])
            except StorageError:
                again = (self.world.now + timedelta(seconds=30), first[1], first[2] + 1)
                self.poisoned.append(first[1]) if again[2] == 5 else self.waiting.append(again)
        self.world.now = until


def encodings(event: dict[str, Any]) -> dict[str, str]:
    text, cloud = json.dumps(event), json.dumps(to_cloud_event(event))
    return {
        "text": text,
        "base64": base64.b64encode(text.encode()).decode(),
        "CloudEvents": cloud,
        "CloudEvents in base64": base64.b64encode(cloud.encode()).decode(),
        "an array of one": json.dumps([event]),
    }


@pytest.mark.parametrize("encoding", encodings(creation()))
async def test_an_event_is_read_in_either_schema_and_either_encoding(encoding: str) -> None:
    world = World()
    vm = world.add()
    queue = Queue(world)
    queue.send(encodings(creation())[encoding])
    await queue.run(world.now)
    assert world.row(vm).outcome is Outcome.REQUESTED
    assert (queue.waiting, queue.stored, queue.poisoned) == ([], {}, [])


async def test_an_outage_of_ten_minutes_loses_nothing() -> None:
    """The queue extension alone gives a message up after five tries of 30 seconds."""
    world = World()
    vm = world.add()
    queue = Queue(world)
    queue.send(encodings(creation())["base64"])
    world.ledger.reachable = False
    await queue.run(START + OUTAGE)
    tried = [(at - START).total_seconds() for at in queue.handled]
    assert tried == [0, 10, 40, 100, 400]
    world.ledger.reachable = True
    await queue.run(START + timedelta(minutes=20))
    assert world.row(vm).outcome is Outcome.REQUESTED
    assert (queue.waiting, queue.stored, queue.poisoned) == ([], {}, [])


async def test_what_is_put_back_and_stored_has_no_personal_data() -> None:
    world = World()
    queue = Queue(world)
    queue.send(json.dumps(creation()))
    world.ledger.reachable = False
    await queue.run(START)
    ((_, kept, _),) = queue.waiting
    assert "Somebody" not in kept
    assert "correlation" in kept
    await queue.run(START + timedelta(days=2))
    (content,) = queue.stored.values()
    assert b"Somebody" not in content


@pytest.mark.parametrize("schema", ["text", "CloudEvents"])
async def test_after_a_day_an_event_is_stored_with_the_undeliverable_ones(schema: str) -> None:
    world = World()
    queue = Queue(world)
    queue.send(encodings(creation())[schema])
    world.ledger.reachable = False
    await queue.run(START + timedelta(days=3))
    assert queue.handled[-1] - START == timedelta(days=1)
    assert queue.waiting == []
    ((path, content),) = queue.stored.items()
    assert path.startswith(f"EVENTS-QUEUE/{START.year}/{START.month}/{START.day}/{START.hour}/")
    (event,) = json.loads(content)
    reason = event["deadLetterReason" if schema == "text" else "deadletterreason"]
    assert (reason, event["id"]) == ("TimeToLiveExceeded", "event-of-web01")
    # It can be replayed: it is still that event.
    assert isinstance(notifications.parse(json.dumps(event), world.now), notifications.VmWritten)


async def test_tries_are_as_often_as_event_grids() -> None:
    world = World()
    queue = Queue(world)
    queue.send(json.dumps(creation()))
    world.ledger.reachable = False
    await queue.run(START + timedelta(days=2))
    waits = [later - earlier for earlier, later in zip(queue.handled, queue.handled[1:], strict=False)]
    assert waits[:8] == list(SCHEDULE[:8])
    assert sum(waits, timedelta()) == timedelta(days=1)
    assert len(queue.handled) <= MOST_TRIES


async def test_if_the_queue_is_out_too_the_host_keeps_the_message() -> None:
    world = World()
    vm = world.add()
    queue = Queue(world)
    queue.send(json.dumps(creation()))
    world.ledger.reachable = queue.reachable = False
    await queue.run(START + OUTAGE)
    (poisoned,) = queue.poisoned
    world.ledger.reachable = queue.reachable = True
    await queue.events.take(poisoned)  # the poison queue has a trigger of its own
    assert world.row(vm).outcome is Outcome.REQUESTED


@pytest.mark.parametrize(
    "text", ["", "hello", "aGVsbG8=", "[]", "7", '{"event": 1, "tries": 1, "since": "x"}', "[" * 9000]
)
async def test_what_is_no_event_is_stored_for_a_person_and_does_not_come_again(text: str) -> None:
    queue = Queue(World())
    queue.send(text)
    await queue.run(START)
    assert (queue.waiting, queue.handled) == ([], [])
    ((event,),) = (json.loads(content) for content in queue.stored.values())
    assert event["deadLetterReason"] == "NotAnEvent"


@pytest.mark.parametrize("tries", [-100, 0, 3, 10**9])
@pytest.mark.parametrize("since", ["1601-01-01T00:00:00+00:00", "2026-11-20T09:59:00+00:00", "9999-12-31T00:00:00Z"])
async def test_whoever_may_write_to_the_queue_can_only_bring_an_event_or_end_it(tries: int, since: str) -> None:
    queue = Queue(World())
    queue.world.ledger.reachable = False
    queue.send(json.dumps({"event": creation(), "tries": tries, "since": since}))
    await queue.run(START)
    assert (len(queue.waiting), len(queue.stored)) in ((1, 0), (0, 1))


async def test_an_irrelevant_event_is_done_at_once() -> None:
    queue = Queue(World())
    queue.send((SAMPLES / "tag-write.json").read_text())
    await queue.run(START)
    assert (queue.waiting, queue.stored, len(queue.handled)) == ([], {}, 1)


async def test_trouble_with_arm_is_no_reason_to_bring_the_event_again() -> None:
    """The row says what it waits for, and has its own check."""
    world = World()
    vm = world.add()
    world.arm.read_errors = [unavailable()]
    queue = Queue(world)
    queue.send(json.dumps(creation()))
    await queue.run(START)
    assert queue.waiting == []
    assert world.row(vm).outcome is Outcome.WAITING


def unavailable() -> Evidence:
    return Evidence(http_status=503, code="ServiceUnavailable", message="The service is unavailable.")
