"""Shared by all uses of the table: create it if it does not exist, translate errors, convert values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableErrorCode
from azure.data.tables.aio import TableClient

from onboarding.domain.errors import LostRace, StorageError


async def with_table[T](table: TableClient, write: Callable[[], Awaitable[T]]) -> T:
    """Write; if the table does not exist, create it and write again."""
    try:
        return await write()
    except HttpResponseError as error:
        if error.status_code != 404:
            raise
    with suppress(ResourceExistsError):
        await table.create_table()
    return await write()


@contextmanager
def reading() -> Iterator[None]:
    """For reads: raises the SDK's errors as StorageError. A table that does not exist holds nothing."""
    try:
        yield
    except ResourceNotFoundError:
        return
    except HttpResponseError as error:
        raise StorageError(f"the table could not be read: {_status_text(error)}") from None
    except (AzureError, ValueError, TimeoutError) as error:  # ValueError: the answer was not that of a table
        raise StorageError(f"the table could not be read: {type(error).__name__}") from None


@contextmanager
def writing() -> Iterator[None]:
    """For writes: raises the SDK's errors as StorageError, and as LostRace if another worker wrote the row first."""
    try:
        yield
    except HttpResponseError as error:
        if _is_lost_race(error):
            raise LostRace("another worker wrote the row first") from None
        raise StorageError(f"the table could not be written: {_status_text(error)}") from None
    except (AzureError, ValueError, TimeoutError) as error:
        raise StorageError(f"the table could not be written: {type(error).__name__}") from None


def plain(value: Any) -> Any:
    """The value without what the SDK adds: a datetime has its wire text, a long number its type."""
    if isinstance(value, EntityProperty):
        return value.value
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        return datetime(*moment.timetuple()[:6], moment.microsecond, tzinfo=UTC)
    return value


def typed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Values with the types that the SDK needs: it writes a plain number in 32 bits, and a month in milliseconds needs
    more."""
    return {name: (value, EdmType.INT64) if type(value) is int else value for name, value in properties.items()}


def entity_path(entity: Mapping[str, Any]) -> str:
    """The entity's keys as part of a URL, after the table's name."""
    partition, row = (quote(entity[name].replace("'", "''"), safe="") for name in ("PartitionKey", "RowKey"))
    return f"(PartitionKey='{partition}',RowKey='{row}')"


def to_wire(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The entity as JSON for the service: a value of a type that JSON lacks becomes text, and another property names
    the type."""
    wire: dict[str, Any] = {}
    for name, value in properties.items():
        if type(value) is str:  # most are
            wire[name] = value
        elif isinstance(value, datetime):
            wire[f"{name}@odata.type"] = "Edm.DateTime"
            wire[name] = value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        elif type(value) is int:
            wire[f"{name}@odata.type"] = "Edm.Int64"
            wire[name] = str(value)
        else:
            wire[name] = value
    return wire


def from_wire(entity: Mapping[str, Any]) -> dict[str, Any]:
    """The entity from the service's JSON; its etag is `odata.etag`. Raises ValueError for a value of a wrong type."""
    properties = {name: value for name, value in entity.items() if "@" not in name}
    for name, kind in entity.items():
        column, _, suffix = name.partition("@")
        if suffix == "odata.type" and column in properties:
            if kind == "Edm.DateTime":
                properties[column] = datetime.fromisoformat(properties[column])
            elif kind == "Edm.Int64":
                properties[column] = int(properties[column])
    return properties


def _status_text(error: HttpResponseError) -> str:
    """The status of the table's answer. The SDK's own errors, such as that of an unusable key, have none."""
    return f"{error.status_code} {error.reason}" if error.status_code else type(error).__name__


def _is_lost_race(error: HttpResponseError) -> bool:
    """Whether another worker wrote first, or deleted what was read. A table that is being deleted answers 409, too, and
    one that does not exist 404: those are no lost races."""
    if error.status_code == 409:
        return getattr(error, "error_code", None) != TableErrorCode.TABLE_BEING_DELETED
    if error.status_code == 404:
        return getattr(error, "error_code", None) == TableErrorCode.RESOURCE_NOT_FOUND
    return error.status_code == 412
