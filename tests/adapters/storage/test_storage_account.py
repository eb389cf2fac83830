"""Every form in which a setting names the storage account, with the SDK's own reading of it as the reference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from azure.data.tables.aio import TableClient as SdkTableClient
from azure.storage.queue import ResourceTypes, generate_account_sas
from azure.storage.queue.aio import QueueClient as SdkQueueClient

from onboarding.application.ports import ScheduledCheck
from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.storage_check import check_storage
from onboarding.azure.storage.storage_clients import (
    onboarding_table,
    poison_queue,
    schedule_queue_client,
    storage_schedule_queue,
)
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import StorageError
from onboarding.domain.secret import Secret
from onboarding.settings import QUEUE, TABLE, Storage, read_settings
from simulator.azurite import ACCOUNT, KEY, Azurite
from tests.adapters.conftest import delete_table, storage_of
from tests.adapters.storage.rows import OMS, TIME, create, new_vm, row_of, rows, trigger
from tests.adapters.storage.test_storage_connections import Identity

SAS = "sv=2024-11-04&ss=qt&srt=sco&sp=rwdlacup&se=2030-01-01T00:00:00Z&spr=https&sig=a%2Bb%2Fc%3D"
ENDPOINTS = "TableEndpoint=https://tables.example/here/;QueueEndpoint=https://queues.example/"
BY_KEY = f"DefaultEndpointsProtocol=https;AccountName=account;AccountKey={KEY}"
FORMS = {
    "as the portal shows it": f"{BY_KEY};EndpointSuffix=core.windows.net",
    "with a semicolon at its end": f"{BY_KEY};EndpointSuffix=core.windows.net;",
    "other case": f"defaultendpointsprotocol=https;ACCOUNTNAME=a;accountKey={KEY};endpointSuffix=core.windows.net",
    "without a suffix": BY_KEY,
    "without a protocol": f"AccountName=account;AccountKey={KEY}",
    "China": f"{BY_KEY};EndpointSuffix=core.chinacloudapi.cn",
    "US government": f"{BY_KEY};EndpointSuffix=core.usgovcloudapi.net",
    "Azure Stack": f"{BY_KEY};EndpointSuffix=local.azurestack.external",
    "plain http": f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={KEY};EndpointSuffix=core.windows.net",
    "its own endpoints": f"{BY_KEY};{ENDPOINTS}",
    "zone endpoints": f"{BY_KEY};TableEndpoint=https://a.z1.table.storage.azure.net/;"
    "QueueEndpoint=https://a.z1.queue.storage.azure.net/",
    "endpoints without a protocol": f"{BY_KEY};TableEndpoint=a.table.example;QueueEndpoint=a.queue.example",
    "the emulator's": f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
    f"TableEndpoint=http://127.0.0.1:10002/{ACCOUNT};QueueEndpoint=http://127.0.0.1:10001/{ACCOUNT};",
    "a SAS": f"BlobEndpoint=https://a.blob.core.windows.net/;{ENDPOINTS};SharedAccessSignature={SAS}",
    "a SAS and the account": f"AccountName=account;SharedAccessSignature={SAS}",
    "a SAS, and endpoints with a suffix": f"DefaultEndpointsProtocol=https;AccountName=account;"
    f"SharedAccessSignature={SAS};EndpointSuffix=core.usgovcloudapi.net",
    "a key and a SAS": f"{BY_KEY};EndpointSuffix=core.windows.net;SharedAccessSignature={SAS}",
}


def host_and_path(url: str) -> str:
    return url.partition("?")[0].rstrip("/")


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_connection_string_names_the_addresses_that_the_sdk_finds_in_it(text: str) -> None:
    storage = storage_of(text)
    sdk_table = SdkTableClient.from_connection_string(text, TABLE)
    sdk_queue = SdkQueueClient.from_connection_string(text, QUEUE)

    assert onboarding_table(storage, None).requests.url == host_and_path(sdk_table.url)
    assert schedule_queue_client(storage, None).requests.url == host_and_path(sdk_queue.url)


def test_development_storage_is_the_emulator_of_this_machine() -> None:
    storage = storage_of("UseDevelopmentStorage=true")
    assert onboarding_table(storage, None).requests.url == "http://127.0.0.1:10002/devstoreaccount1"
    assert schedule_queue_client(storage, None).requests.url == f"http://127.0.0.1:10001/devstoreaccount1/{QUEUE}"


@pytest.mark.parametrize(
    ("cloud", "suffix"),
    [
        ("", "core.windows.net"),
        ("AzurePublicCloud", "core.windows.net"),
        ("AzureUSGovernment", "core.usgovcloudapi.net"),
        ("AzureChinaCloud", "core.chinacloudapi.cn"),
    ],
)
def test_an_account_name_is_used_with_the_identity_in_each_cloud(cloud: str, suffix: str) -> None:
    storage = read_settings({"AzureWebJobsStorage__accountName": "account", "AZURE_CLOUD": cloud}).storage
    identity = Identity()
    assert onboarding_table(storage, identity).requests.url == f"https://account.table.{suffix}"
    assert schedule_queue_client(storage, identity).requests.url == f"https://account.queue.{suffix}/{QUEUE}"


def test_the_addresses_of_the_services_are_used_with_the_identity() -> None:
    addresses = {
        "ONBOARDING_STORAGE__tableServiceUri": "https://t.example/",
        "ONBOARDING_STORAGE__queueServiceUri": "https://q.example/a",
    }
    storage = read_settings(addresses).storage
    assert onboarding_table(storage, Identity()).requests.url == "https://t.example"
    assert schedule_queue_client(storage, Identity()).requests.url == f"https://q.example/a/{QUEUE}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "without any equals sign",
        "AccountKey=c2VjcmV0IGtleQ==",
        "AccountName=account",
        "SharedAccessSignature=sv=1&sig=c2VjcmV0",
        "AccountName=a;AccountName=b;AccountKey=c2VjcmV0IGtleQ==",
        "AccountName=a;AccountKey=c2VjcmV0IGtleQ==;TableEndpoint=https://;QueueEndpoint=https://",
        "AccountName=a;AccountKey=c2VjcmV0IGtleQ==;TableEndpoint=https://[x;QueueEndpoint=https://[x",
    ],
)
def test_a_malformed_connection_string_is_a_storage_error_without_the_secret(text: str) -> None:
    storage = Storage(Secret(text))
    for client in (onboarding_table, schedule_queue_client, storage_schedule_queue, poison_queue):
        with pytest.raises(StorageError, match="the storage setting is malformed") as raised:
            client(storage, None)
        assert "c2VjcmV0" not in str(raised.value)
        assert raised.value.__cause__ is None


def with_sas(azurite: Azurite, begin: str) -> str:
    """A connection string with a SAS for tables and queues instead of the key."""
    sas = generate_account_sas(
        ACCOUNT,
        KEY,
        ResourceTypes(service=True, container=True, object=True),
        "rwdlacup",
        datetime.now(UTC) + timedelta(hours=1),
        services="qt",
    )
    endpoints = ";".join(f"{kind.title()}Endpoint={azurite.endpoints[kind]}/{ACCOUNT}/" for kind in ("table", "queue"))
    return f"{endpoints};SharedAccessSignature={begin}{sas}"


@pytest.mark.parametrize("begin", ["", "?"])
async def test_a_sas_opens_the_table_and_both_queues(azurite: Azurite, begin: str) -> None:
    await delete_table(azurite.connection_string)
    storage, vm, connections = storage_of(with_sas(azurite, begin)), new_vm(), Connections()
    async with onboarding_table(storage, None, connections) as table:
        ledger = TableLedger(table)
        await create(ledger, row_of(vm), trigger())
        assert set(await rows(ledger, vm)) == {OMS}
        await storage_schedule_queue(storage, None, connections).schedule(ScheduledCheck(vm, TIME), TIME)
        assert [moved async for moved in poison_queue(storage, None, connections).requeue()] == []
        await check_storage(storage, table.requests, schedule_queue_client(storage, None, connections).requests)


async def test_a_key_that_is_none_is_a_storage_error(azurite: Azurite) -> None:
    storage = storage_of(azurite.connection_string.replace(KEY, "not base64"))
    async with onboarding_table(storage, None) as table:
        with pytest.raises(StorageError):
            await TableLedger(table).read(new_vm())
    poison = poison_queue(storage, None)
    with pytest.raises(StorageError):
        [moved async for moved in poison.requeue()]
    await poison.close()
