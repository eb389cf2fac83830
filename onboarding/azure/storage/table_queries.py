"""Queries for entities of the table, as OData filters."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct


class Query(Struct, frozen=True):
    """A query for the entities of one range of row keys."""

    prefix: str
    """What the row keys begin with; it must end in "|", or be empty: all row keys."""
    partition: str = ""
    """The partition key; empty: all partitions."""
    condition: str = ""
    """A further condition in OData; empty: none."""
    after: str = ""
    """The row key after which the range begins; empty, or a key before the range: it begins at its start."""

    @property
    def text(self) -> str:
        """The query as an OData filter."""
        partition = f"PartitionKey eq {literal(self.partition)}" if self.partition else ""
        begin = f"gt {literal(self.after)}" if self.after > self.prefix else f"ge {literal(self.prefix)}"
        # "}" is the character after "|", so every key in between begins with the prefix.
        end = f" and RowKey lt {literal(f'{self.prefix[:-1]}}}')}" if self.prefix else ""
        return " and ".join(filter(None, (partition, f"RowKey {begin}{end}", self.condition)))


def literal(value: str | datetime) -> str:
    """A value as an OData literal."""
    if isinstance(value, datetime):
        return f"datetime'{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
    return "'{}'".format(value.replace("'", "''"))
