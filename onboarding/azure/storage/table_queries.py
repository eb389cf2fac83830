"""Queries for entities of the table, as OData filters."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct


class Query(Struct, frozen=True):
    """A query for the entities of one range of row keys in one partition: the service reads no others."""

    prefix: str
    """What the row keys begin with; it must end in "|", or be empty: all row keys of a small partition."""
    partition: str
    """The partition key."""
    condition: str = ""
    """A further condition in OData; empty: none."""
    after: str = ""
    """The row key after which the range begins; empty, or a key before the range: it begins at its start."""
    begin: str = ""
    """The row key with which the range begins; empty: at its start."""
    until: str = ""
    """The row key before which the range ends; empty: after the last key with the prefix."""

    @property
    def text(self) -> str:
        """The query as an OData filter."""
        begin = f"gt {literal(self.after)}" if self.after > self.prefix else f"ge {literal(self.begin or self.prefix)}"
        # "}" is the character after "|", so every key in between begins with the prefix.
        until = self.until or (f"{self.prefix[:-1]}}}" if self.prefix else "")
        end = f"RowKey lt {literal(until)}" if until else ""
        parts = f"PartitionKey eq {literal(self.partition)}", f"RowKey {begin}", end, self.condition
        return " and ".join(filter(None, parts))


def literal(value: str | datetime) -> str:
    """A value as an OData literal."""
    if isinstance(value, datetime):
        return f"datetime'{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
    return "'{}'".format(value.replace("'", "''"))
