"""Entities as the service's JSON, the one form in which they are sent, and what the errors of a table mean."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from onboarding.domain.errors import LostRace, StorageError

NO_ENTITY: Final = "ResourceNotFound"
"""The code of the service's answer if there is no such entity; for a missing table it has another one."""
_BEING_DELETED = "TableBeingDeleted"
_OF_EVERY_ENTITY = frozenset({"PartitionKey", "RowKey", "Timestamp"})


@contextmanager
def reading() -> Iterator[None]:
    """For reads: raises azure-core's errors as StorageError. A table that does not exist holds nothing."""
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
    """For writes: raises azure-core's errors as StorageError, and as LostRace if another worker wrote the row first."""
    try:
        yield
    except HttpResponseError as error:
        if _is_lost_race(error):
            raise LostRace("another worker wrote the row first") from None
        raise StorageError(f"the table could not be written: {_status_text(error)}") from None
    except (AzureError, ValueError, TimeoutError) as error:
        raise StorageError(f"the table could not be written: {type(error).__name__}") from None


def entity_path(entity: Mapping[str, Any]) -> str:
    """The entity's keys as part of a URL, after the table's name."""
    partition, row = (quote(entity[name].replace("'", "''"), safe="") for name in ("PartitionKey", "RowKey"))
    return f"(PartitionKey='{partition}',RowKey='{row}')"


def to_wire(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The entity as JSON for the service: a value of a type that JSON lacks becomes text, and another property names
    the type. None is left out, since the service stores no empty columns."""
    wire: dict[str, Any] = {}
    for name, value in properties.items():
        if type(value) is str or type(value) is bool:  # most are
            wire[name] = value
        elif isinstance(value, datetime):
            wire[f"{name}@odata.type"] = "Edm.DateTime"
            wire[name] = value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        elif type(value) is int:
            wire[f"{name}@odata.type"] = "Edm.Int64"
            wire[name] = str(value)
        elif isinstance(value, float):
            wire[f"{name}@odata.type"] = "Edm.Double"
            wire[name] = value if math.isfinite(value) else _NOT_FINITE[str(value)]
        elif isinstance(value, bytes):
            wire[f"{name}@odata.type"] = "Edm.Binary"
            wire[name] = base64.b64encode(value).decode()
        elif value is not None:
            wire[name] = value
    return wire


def from_wire(entity: Mapping[str, Any]) -> dict[str, Any]:
    """The entity from the service's JSON; its etag is `odata.etag`. Raises ValueError for a value of a wrong type."""
    properties = {name: value for name, value in entity.items() if "@" not in name}
    for name, kind in entity.items():
        column, _, suffix = name.partition("@")
        if suffix == "odata.type" and column in properties and (read := _READERS.get(kind)) is not None:
            properties[column] = read(properties[column])
    return properties


_READERS: dict[str, Callable[[Any], object]] = {
    "Edm.DateTime": datetime.fromisoformat,
    "Edm.Int64": int,
    "Edm.Double": float,
    "Edm.Binary": base64.b64decode,
}
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def unknown_columns(entity: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The columns of the service's JSON, with their types, that are not among the known ones.

    The service does not name the type of a double, but would store 7.0 as an integer if it was not named."""
    unknown = {name: value for name, value in entity.items() if is_unknown(name, known)}
    doubles = [name for name, value in unknown.items() if type(value) is float]
    return unknown | {f"{name}@odata.type": "Edm.Double" for name in doubles}


def is_unknown(name: str, known: Collection[str]) -> bool:
    """Whether a name in the service's JSON is that of a column, or of its type, which is not among the known ones."""
    column = name.partition("@")[0]
    return column not in _OF_EVERY_ENTITY and column not in known and not column.startswith("odata.")


def _status_text(error: HttpResponseError) -> str:
    """The status of the table's answer. The errors of no answer have none."""
    return f"{error.status_code} {error.reason}" if error.status_code else type(error).__name__


def _is_lost_race(error: HttpResponseError) -> bool:
    """Whether another worker wrote first, or deleted what was read. A table that is being deleted answers 409, too, and
    one that does not exist 404: those are no lost races."""
    if error.status_code == 409:
        return getattr(error, "error_code", None) != _BEING_DELETED
    if error.status_code == 404:
        return getattr(error, "error_code", None) == NO_ENTITY
    return error.status_code == 412
