"""What every use of the table shares: the table made when it is missing, errors translated, values made plain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.data.tables.aio import TableClient

from onboarding.core.errors import LostRace, StorageError

_CONFLICTS = (409, 412)


async def with_table[T](table: TableClient, write: Callable[[], Awaitable[T]]) -> T:
    """Write; make the table first if there is none yet."""
    try:
        return await write()
    except HttpResponseError as error:
        if error.status_code != 404:
            raise
    with suppress(ResourceExistsError):
        await table.create_table()
    return await write()


@asynccontextmanager
async def as_storage_errors(doing: str) -> AsyncIterator[None]:
    """`doing` is `read` or `write`. Reading a table that is not there finds nothing."""
    try:
        yield
    except ResourceNotFoundError as error:
        if doing != "read":
            raise StorageError(f"the table could not be written: {error.reason}") from None
    except HttpResponseError as error:
        if error.status_code in _CONFLICTS:
            raise LostRace("the row was written by somebody else") from None
        raise StorageError(f"the table could not be {doing}: {error.status_code} {error.reason}") from None
    except (AzureError, TimeoutError) as error:
        raise StorageError(f"the table could not be {doing}: {type(error).__name__}") from None


def plain(value: Any) -> Any:
    """The SDK's datetime carries its wire text along; rows compare by the moment alone."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        return datetime(*moment.timetuple()[:6], moment.microsecond, tzinfo=UTC)
    return value
