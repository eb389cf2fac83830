"""The simulated custom topic, used by the Azure SDK's own publisher."""

from __future__ import annotations

import io
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.core.messaging import CloudEvent
from azure.core.pipeline.transport import AioHttpTransport
from azure.eventgrid import EventGridEvent
from azure.eventgrid.aio import EventGridPublisherClient

from simulator.eventgrid import CustomTopic
from simulator.tls import Certificates, make_certificates

KEY = "topic-key"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def topic(certificates: Certificates) -> AsyncIterator[CustomTopic]:
    async with CustomTopic(KEY, accepts_token=lambda token: token == "good") as topic:
        await topic.start(certificates.server_context())
        yield topic


class Token:
    """A credential with one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)

    async def close(self) -> None: ...

    async def __aenter__(self) -> Token:
        return self

    async def __aexit__(self, *_: object) -> None: ...


def publisher(topic: CustomTopic, certificates: Certificates, credential: Any) -> EventGridPublisherClient:
    transport = AioHttpTransport(connection_verify=str(certificates.ca_file))
    return EventGridPublisherClient(topic.endpoint, credential, transport=transport)


async def test_the_sdk_publishes_both_schemas_with_a_key(topic: CustomTopic, certificates: Certificates) -> None:
    cloud = CloudEvent("/vm/web01", "Onboarding.Installed", data={"outcome": "Installed"})
    grid = EventGridEvent("/vm/web02", "Onboarding.Failed", {"outcome": "Failed"}, "1.0")
    async with publisher(topic, certificates, AzureKeyCredential(KEY)) as client:
        await client.send([cloud, cloud])
        await client.send(grid)
    assert [event.get("type") or event["eventType"] for event in topic.events] == [
        *("Onboarding.Installed", "Onboarding.Installed", "Onboarding.Failed")
    ]
    assert topic.events[0]["data"] == {"outcome": "Installed"}
    assert topic.events[0]["specversion"] == "1.0"


async def test_the_sdk_publishes_with_a_token(topic: CustomTopic, certificates: Certificates) -> None:
    async with publisher(topic, certificates, Token("good")) as client:
        await client.send(CloudEvent("/vm/web01", "Onboarding.Installed", data={}))
    assert len(topic.events) == 1


@pytest.mark.parametrize("credential", [AzureKeyCredential("wrong"), Token("bad")])
async def test_wrong_credentials_are_refused(topic: CustomTopic, certificates: Certificates, credential: Any) -> None:
    async with publisher(topic, certificates, credential) as client:
        with pytest.raises(ClientAuthenticationError):
            await client.send(CloudEvent("/vm/web01", "Onboarding.Installed", data={}))
    assert topic.events == []


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"{}", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'[{"id": "1"}]', "application/json", 400),
        (b'[{"id": "1"}]', "application/cloudevents-batch+json", 400),
        (b"[]", "text/plain", 400),
        (b"[" + b" " * 1_048_576 + b"]", "application/json", 413),
        (b"[]", "application/json", 200),
    ],
)
async def test_bad_requests_are_refused_whole(
    topic: CustomTopic, certificates: Certificates, body: bytes, content_type: str, status: int
) -> None:
    headers = {"aeg-sas-key": KEY, "Content-Type": content_type}
    answered = await post(topic, certificates.client_context(), body, headers, "?api-version=2018-01-01")
    assert answered == status
    assert topic.events == []


async def test_the_api_version_is_required_and_nobody_is_anonymous(
    topic: CustomTopic, certificates: Certificates
) -> None:
    tls = certificates.client_context()
    headers = {"Content-Type": "application/json"}
    assert await post(topic, tls, b"[]", headers, "?api-version=2018-01-01") == 401
    assert await post(topic, tls, b"[]", {**headers, "aeg-sas-key": KEY}) == 400


async def test_a_topic_without_credentials_lets_nobody_in(tmp_path: Path) -> None:
    async with CustomTopic() as closed:
        await closed.start(None)
        for headers in ({"aeg-sas-key": ""}, {"Authorization": "Bearer x"}, {}):
            assert await post(closed, None, b"[]", headers, "?api-version=2018-01-01") == 401


async def post(
    topic: CustomTopic, tls: ssl.SSLContext | None, body: bytes, headers: dict[str, str], query: str = ""
) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(topic.endpoint + query, data=io.BytesIO(body), headers=headers, ssl=tls or True) as response,
    ):
        return response.status
