"""What views and actions work with: the application of this process, and the query of one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from msgspec import Struct

from onboarding.app import Application
from onboarding.application.ports import LedgerReader, Ports
from onboarding.application.rules import Rules
from onboarding.domain.resource_id import VmId, parse_id

_LONGEST = 1024  # characters of one value
_MOST = 200  # values of one query


class BadQuery(Exception):
    """What a request asks for is not understood; the text says what, and what to do."""


class NotFound(Exception):
    """What a request asks for is not there; the text says what, and what to do."""


class Query(Struct, frozen=True):
    """The query of a request, or the fields of a form: names with their values."""

    values: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, text: str) -> Query:
        """Raises BadQuery for more than a page of ours sends."""
        try:
            values = parse_qs(text, max_num_fields=_MOST)
        except ValueError:
            raise BadQuery(f"the request has more than {_MOST} values; choose fewer machines at once") from None
        if any(len(value) > _LONGEST for each in values.values() for value in each):
            raise BadQuery(f"a value of the request is longer than {_LONGEST} characters; shorten it")
        return cls(values)

    def one(self, name: str) -> str:
        """The value, without blanks around it; empty: without one. Of several, the last counts."""
        return self.many(name)[-1] if self.many(name) else ""

    def many(self, name: str) -> tuple[str, ...]:
        """The values that are not empty."""
        return tuple(value.strip() for value in self.values.get(name, ()) if value.strip())

    def with_values(self, **changes: str | Sequence[str]) -> str:
        """The query as text, with these values in the place of those before; an empty one is left out."""
        changed = {name: [value] if isinstance(value, str) else list(value) for name, value in changes.items()}
        values = {name: [v for v in each if v] for name, each in {**self.values, **changed}.items()}
        return urlencode(values, doseq=True)


class Site(Struct, frozen=True):
    """What one request works with."""

    application: Application
    now: datetime
    """When the request came (UTC)."""
    query: Query

    @property
    def ports(self) -> Ports:
        return self.application.ports

    @property
    def rules(self) -> Rules:
        return self.application.rules

    @property
    def reader(self) -> LedgerReader:
        """The table. Raises StorageError if the application was made without its lists."""
        return self.ports.lists()


type Data = dict[str, Any]
"""What a view shows, as JSON: the page is made of it, and programs get it as it is."""


def vm_of(text: str) -> VmId:
    """The VM of an id. Raises NotFound."""
    vm = parse_id(text)
    if not isinstance(vm, VmId):
        raise NotFound("the address names no machine; choose one from the list of machines")
    return vm
