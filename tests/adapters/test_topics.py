"""Outcome events on the user's topic, sent by the real SDK; a topic that refuses them stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import web
from azure.core.credentials import AzureKeyCredential

from onboarding.azure.outcome_topic import EVENT_TYPE, NullPublisher, TopicPublisher
from onboarding.domain.reconcile.row import Outcome
from simulator.eventgrid import CustomTopic
from tests.adapters.storage.rows import OMS, TIME, final, new_vm
from tests.adapters.storage.storage_stub import refusal, storage_stub

KEY = "dG9waWMga2V5IHRoYXQgbm9ib2R5IG1heSBzZWU="


@pytest.fixture
async def topic() -> AsyncIterator[CustomTopic]:
    async with CustomTopic(KEY) as topic:
        yield await topic.start(None)


@pytest.fixture
async def publisher(topic: CustomTopic) -> AsyncIterator[TopicPublisher]:
    publisher = TopicPublisher(topic.endpoint, AzureKeyCredential(KEY))
    yield publisher
    await publisher.close()


async def test_a_final_outcome_arrives_as_a_cloud_event(topic: CustomTopic, publisher: TopicPublisher) -> None:
    vm = new_vm()
    row = final(vm, requested_at=TIME + timedelta(seconds=2), duration_ms=118_000, attempt=1)

    assert await publisher.publish(row)

    (event,) = topic.events
    assert event["specversion"] == "1.0"
    assert (event["type"], event["source"], event["subject"]) == (EVENT_TYPE, "/vm-onboarding", str(vm))
    assert event["data"] | {"Outcome": "Installed", "DurationMs": 118_000, "Extension": OMS} == event["data"]
    assert event["data"]["RequestedAt"] == "2026-11-20T09:14:09.331820+00:00"
    assert set(event["data"]) == set(row.to_properties())


async def test_an_outcome_published_twice_has_the_same_id_and_another_outcome_has_another(
    topic: CustomTopic, publisher: TopicPublisher
) -> None:
    vm = new_vm()
    for row in (final(vm), final(vm), final(vm, Outcome.FAILED), final(new_vm())):
        assert await publisher.publish(row)

    first, second, *others = (event["id"] for event in topic.events)
    assert first == second
    assert len({first, *others}) == 3


async def test_a_topic_that_refuses_the_key_stops_nothing_and_its_key_is_not_shown(
    topic: CustomTopic, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    wrong = "d3Jvbmcga2V5IHRoYXQgbm9ib2R5IG1heSBzZWU="
    publisher = TopicPublisher(topic.endpoint, AzureKeyCredential(wrong))

    assert not await publisher.publish(final(new_vm()))

    await publisher.close()
    assert topic.events == []
    assert "web-01" in caplog.text.lower()
    (line,) = [record for record in caplog.records if record.name == "onboarding.azure.outcome_topic"]
    assert line.levelname == "ERROR"
    assert line.getMessage().startswith(f"Web-01 {OMS}: the outcome event could not be published: ")
    assert wrong not in caplog.text + repr(publisher) + repr(vars(publisher))


@pytest.mark.parametrize("status", [400, 403, 404, 413, 429, 500, 503])
async def test_a_refusal_of_the_topic_is_not_retried_or_waited_for(status: int) -> None:
    def busy() -> web.Response:
        answer = refusal(status, "Refused")
        answer.headers["Retry-After"] = "600"
        return answer

    async with storage_stub(busy) as stub:
        publisher = TopicPublisher(f"{stub.endpoint}/api/events", AzureKeyCredential(KEY))
        async with asyncio.timeout(10):
            assert not await publisher.publish(final(new_vm()))
        await publisher.close()
    assert len(stub.requests) == 1


async def test_a_missing_topic_stops_nothing() -> None:
    publisher = TopicPublisher("http://127.0.0.1:9/api/events", AzureKeyCredential(KEY))
    assert not await publisher.publish(final(new_vm()))
    await publisher.close()


async def test_without_a_topic_nothing_is_published() -> None:
    publisher = NullPublisher()
    assert not await publisher.publish(final(new_vm()))
    await publisher.close()
