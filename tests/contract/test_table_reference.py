"""Our client of the table beside the SDK's: each reads what the other wrote, and both lose the same races."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, UpdateMode

from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import from_wire, to_wire, unknown_columns
from onboarding.azure.storage.table_queries import Query, literal
from onboarding.azure.storage.table_writes import Write
from tests.contract.backends import OnAzurite

TIME = datetime(2026, 11, 20, 9, 14, 7, 331820, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "text": "plain",
    "empty text": "",
    "quotes": "it's \"so\" 'twice' \\ /",
    "markup": "<b>&amp; ]]> --batch_onboarding--",
    "line ends": "a\r\nb\n\tc ",
    "other scripts": "üß漢字 \u202e\u0301",
    "emoji": "😀👩‍🔧",
    "a number as text": "7",
    "a time as text": "2026-11-20T09:14:07.331820Z",
    "true": True,
    "false": False,
    "time": TIME,
    "whole second": TIME.replace(microsecond=0),
    "one microsecond": TIME.replace(microsecond=1),
    "another zone": TIME.astimezone(timezone(timedelta(hours=5, minutes=30))),
    "earliest": datetime(1601, 1, 1, tzinfo=UTC),
    "zero": 0,
    "whole": 7,
    "32 bits": 2**31 - 1,
    "more": 2**31,
    "largest": 2**63 - 1,
    "least": -(2**63),
    "half": 0.5,
    "double without fraction": 7.0,
    "huge": 1e300,
    "endless": math.inf,
    "bytes": b"\x00\xff text",
    "no bytes": b"",
    "many bytes": bytes(range(256)) * 256,
}
ODD = [
    "o'brien",
    "two ''quotes''",
    'a "b"',
    "a b",
    "ü漢",
    "😀",
    "a+b&c=d",
    "(1),;:@$!*~`^[]{}<>",
    "a|b|",
    "100% %25",
    ".",
]
EACH = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


def keys(row: str = "row", partition: str = "partition") -> dict[str, str]:
    return {"PartitionKey": partition, "RowKey": row}


def of_sdk(value: Any) -> Any:
    """The value that the SDK read, without the type that it adds to a long number, and a plain datetime."""
    value = value.value if isinstance(value, EntityProperty) else value
    return datetime.fromisoformat(value.isoformat()) if isinstance(value, datetime) else value


def for_sdk(value: Any) -> Any:
    """The value as the SDK writes it: without a type, it writes a whole number in 32 bits."""
    large = type(value) is int and not -(2**31) <= value < 2**31
    return (value, EdmType.INT64) if large else value


WRITES: dict[str, Callable[[TableClient, dict[str, Any]], Awaitable[Any]]] = {
    "create": lambda table, entity: table.write(Write(entity, create=True)),
    "replace": lambda table, entity: table.write(Write(entity)),
    "merge": lambda table, entity: table.write(Write(entity, merge=True)),
    "transaction": lambda table, entity: table.transact([Write(entity, create=True)]),
}


@EACH
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_the_sdk_reads_what_we_wrote(
    wire: OnAzurite, value: Any, write: Callable[[TableClient, dict[str, Any]], Awaitable[Any]]
) -> None:
    await write(wire.table_client, {**keys(), **to_wire({"Value": value, "Nothing": None})})

    entity = await wire.table.get_entity(**_sdk_keys())

    assert of_sdk(entity["Value"]) == value
    assert type(of_sdk(entity["Value"])) is type(value)
    assert set(entity) == {"PartitionKey", "RowKey", "Value"}


@EACH
async def test_we_read_what_the_sdk_wrote(wire: OnAzurite, value: Any) -> None:
    await wire.table.create_table()
    await wire.table.create_entity({**keys(), "Value": for_sdk(value), "Nothing": None})

    entity = await wire.table_client.get(keys())
    (found,) = [each async for each in wire.table_client.query(Query("", "partition"))]

    for each in (entity, found):
        assert each is not None
        read = from_wire(each)["Value"]
        assert read == value
        assert type(read) is type(value)
        assert "Nothing" not in each


@EACH
async def test_what_we_read_and_write_back_is_unchanged(wire: OnAzurite, value: Any) -> None:
    await wire.table.create_table()
    await wire.table.create_entity({**keys(), "Value": for_sdk(value)})
    before = await wire.table.get_entity(**_sdk_keys())

    entity = await wire.table_client.get(keys())
    assert entity is not None
    await wire.table_client.write(Write({**keys(), **unknown_columns(entity, ())}))

    after = await wire.table.get_entity(**_sdk_keys())
    assert after["Value"] == before["Value"]
    assert type(after["Value"]) is type(before["Value"])


async def test_not_a_number_is_read_and_written(wire: OnAzurite) -> None:
    await wire.table_client.write(Write({**keys("ours"), **to_wire({"Value": math.nan})}))
    await wire.table.create_entity({**keys("theirs"), "Value": math.nan})

    assert math.isnan((await wire.table.get_entity(**_sdk_keys("ours")))["Value"])
    for row in ("ours", "theirs"):
        entity = await wire.table_client.get(keys(row))
        assert entity is not None
        assert math.isnan(from_wire(entity)["Value"])


@pytest.mark.parametrize("key", ODD)
async def test_odd_keys_name_the_same_entity_for_both(wire: OnAzurite, key: str) -> None:
    table = wire.table_client
    await table.write(Write({**keys(key, key), "Value": "ours"}, create=True))
    assert (await wire.table.get_entity(key, key))["Value"] == "ours"
    await wire.table.update_entity({**keys(key, key), "Value": "theirs"})

    entity = await table.get(keys(key, key))
    assert entity is not None
    assert (entity["RowKey"], entity["Value"]) == (key, "theirs")
    condition = f"RowKey eq {literal(key)}"
    assert [each["Value"] async for each in table.query(Query("", key, condition))] == ["theirs"]
    await table.transact([Write({**keys(key, key), "Value": "again"}, version=entity["odata.etag"])])
    assert (await wire.table.get_entity(key, key))["Value"] == "again"
    await table.delete(keys(key, key))
    with pytest.raises(ResourceNotFoundError):
        await wire.table.get_entity(key, key)


async def test_the_etags_of_both_are_the_same_and_the_later_write_loses(wire: OnAzurite) -> None:
    table = wire.table_client
    first = await table.write(Write({**keys(), "Value": "1"}, create=True))
    assert (await wire.table.get_entity(**_sdk_keys())).metadata["etag"] == first

    second = (await wire.table.update_entity({**keys(), "Value": "2"}, **_only_if(first)))["etag"]
    with pytest.raises(HttpResponseError) as ours:
        await table.write(Write({**keys(), "Value": "3"}, version=first))
    third = await table.write(Write({**keys(), "Value": "3"}, version=second))
    with pytest.raises(ResourceModifiedError) as theirs:
        await wire.table.update_entity({**keys(), "Value": "4"}, **_only_if(second))

    assert ours.value.status_code == theirs.value.status_code == 412
    assert vars(ours.value)["error_code"] == theirs.value.error_code.value  # type: ignore[attr-defined]
    with pytest.raises(HttpResponseError, match="UpdateConditionNotSatisfied"):
        await table.delete(keys(), second)
    await table.delete(keys(), third)
    await table.delete(keys(), third)


async def test_an_entity_is_created_once(wire: OnAzurite) -> None:
    await wire.table_client.write(Write({**keys(), "Value": "ours"}, create=True))

    for write in (WRITES["create"], WRITES["transaction"]):
        with pytest.raises(HttpResponseError, match="EntityAlreadyExists") as refused:
            await write(wire.table_client, {**keys(), "Value": "again"})
        assert refused.value.status_code == 409

    assert (await wire.table.get_entity(**_sdk_keys()))["Value"] == "ours"


async def test_a_merge_keeps_the_other_columns_and_a_replacement_drops_them(wire: OnAzurite) -> None:
    await wire.table.create_table()
    await wire.table.create_entity({**keys(), "Kept": TIME, "Value": 1})

    await wire.table_client.write(Write({**keys(), "Value": "2"}, merge=True))
    merged = await wire.table.get_entity(**_sdk_keys())
    await wire.table_client.write(Write({**keys(), "Value": "3"}))
    replaced = await wire.table.get_entity(**_sdk_keys())

    assert (merged["Kept"], merged["Value"]) == (TIME, "2")
    assert (set(replaced), replaced["Value"]) == ({"PartitionKey", "RowKey", "Value"}, "3")


async def test_a_transaction_is_carried_out_as_a_whole_or_not_at_all(wire: OnAzurite) -> None:
    table = wire.table_client
    old, gone = [await table.write(Write({**keys(row), "Value": "1"}, create=True)) for row in ("old", "gone")]

    versions = await table.transact(
        [
            Write({**keys("old"), **to_wire({"Value": "emoji 😀"})}, version=old),
            Write(keys("gone"), version=gone, delete=True),
            Write({**keys("new"), "Value": "1"}, create=True),
            Write({**keys("any"), "Value": "1"}),
            Write({**keys("part"), "Value": "1"}, merge=True),
        ]
    )

    found = {each["RowKey"]: each async for each in wire.table.list_entities()}
    assert {row: each["Value"] for row, each in found.items()} == {
        "old": "emoji 😀",
        **dict.fromkeys(("new", "any", "part"), "1"),
    }
    assert versions[1] == ""
    order = ["old", "new", "any", "part"]
    assert [version for version in versions if version] == [found[row].metadata["etag"] for row in order]
    with pytest.raises(HttpResponseError) as refused:
        await table.transact([Write({**keys("any"), "Value": "2"}), Write({**keys("old"), "Value": "2"}, version=old)])
    assert refused.value.status_code == 412
    assert (await wire.table.get_entity(**_sdk_keys("any")))["Value"] == "1"


async def test_a_transaction_of_the_sdk_is_read(wire: OnAzurite) -> None:
    await wire.table.create_table()
    entities = [{**keys(f"row|{number:03}"), "Value": (number, EdmType.INT64)} for number in range(100)]
    await wire.table.submit_transaction([("upsert", each, {"mode": UpdateMode.REPLACE}) for each in entities])

    found = [from_wire(each) async for each in wire.table_client.query(Query("row|", "partition", after="row|009"))]

    assert [each["Value"] for each in found] == list(range(10, 100))
    assert await wire.table_client.next_partition("a", "z") == "partition"
    assert await wire.table_client.next_partition("partition", "z") == ""


async def test_a_missing_table_holds_nothing(wire: OnAzurite) -> None:
    table = wire.table_client
    assert await table.get(keys()) is None
    await table.delete(keys())
    with pytest.raises(ResourceNotFoundError):
        [each async for each in table.query(Query("", "partition"))]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_write_creates_a_missing_table(
    wire: OnAzurite, write: Callable[[TableClient, dict[str, Any]], Awaitable[Any]]
) -> None:
    await write(wire.table_client, {**keys(), "Value": "1"})
    await wire.table_client.create()  # it is there already

    assert (await wire.table.get_entity(**_sdk_keys()))["Value"] == "1"


@pytest.mark.parametrize("there", [False, True], ids=["no table", "no entity"])
async def test_a_conditional_write_of_a_missing_entity_is_refused_in_any_table(wire: OnAzurite, there: bool) -> None:
    table = wire.table_client
    etag = await table.write(Write({**keys("another"), "Value": "1"}))
    if not there:
        await wire.table.delete_table()

    for send in (lambda each: table.write(each), lambda each: table.transact([each])):
        with pytest.raises(ResourceNotFoundError) as refused:
            await send(Write({**keys(), "Value": "1"}, version=etag))
        assert vars(refused.value)["error_code"] == "ResourceNotFound"


def _sdk_keys(row: str = "row") -> dict[str, str]:
    return {"partition_key": "partition", "row_key": row}


def _only_if(etag: str) -> Mapping[str, Any]:
    return {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}
