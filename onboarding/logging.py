"""The log lines of the product: each has the same keys, as readable text or as one JSON object.

The worker of Azure Functions forwards the text of a line and nothing else, so the keys stand in the text. A pass over a
machine binds its keys once (`bound`); every line below it carries them, whichever module writes it. This module has the
name of Python's own; all imports are absolute, so each of the two is found where it is meant.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

from msgspec import Struct

from onboarding.domain.json_access import printable
from onboarding.domain.masking import mask

if TYPE_CHECKING:
    from onboarding.domain.reconcile.row import Row

FORM = "ONBOARDING_LOG"
FORMS = ("json", "text")
OUTCOMES = "onboarding.outcomes"
"""The logger of the rows that are written. A command shows them itself."""


class Keys(Struct, frozen=True):
    """What a line is about. Empty texts and None mean unknown or not applicable."""

    machine: str = ""  # the machine's full ARM id
    policy: str = ""  # the name of the policy
    target: str = ""  # the extension's name in the catalogue
    step: str = ""  # `read`, or the step of the target whose request it is, such as `extension`
    event_id: str = ""  # of the event, scheduled check or request that is the reason of the pass
    correlation_id: str = ""  # ARM's, of the same event
    outcome: str = ""  # of the row
    ms: int | None = None  # of a row: from its event to the final outcome; of a request: until ARM answered
    client_request_id: str = ""  # of the request to ARM, as in ARM's own logs


class _Bound(TypedDict, total=False):
    machine: str
    policy: str
    target: str
    step: str
    event_id: str
    correlation_id: str
    outcome: str
    ms: int | None
    client_request_id: str


_context: ContextVar[Keys] = ContextVar("keys", default=Keys())  # noqa: B039 - a frozen value
_as_json = False


def configure(environment: Mapping[str, str]) -> None:
    """Choose the form of all lines: `ONBOARDING_LOG`, else JSON in Azure and text elsewhere. A wrong value counts as
    not set; `settings` names it."""
    global _as_json
    form = environment.get(FORM, "")
    _as_json = form == "json" if form in FORMS else _is_azure(environment)


def writes_json() -> bool:
    return _as_json


def _is_azure(environment: Mapping[str, str]) -> bool:
    of_site = environment.get("FUNCTIONS_WORKER_RUNTIME") and environment.get("WEBSITE_SITE_NAME")
    return bool(environment.get("WEBSITE_INSTANCE_ID") or of_site)


@contextmanager
def bound(**keys: Unpack[_Bound]) -> Iterator[None]:
    """All lines of this task, and of the tasks that it starts, carry these keys until the end of the block."""
    token = _context.set(replace(_context.get(), **keys))
    try:
        yield
    finally:
        _context.reset(token)


def bound_keys() -> Keys:
    """The keys that lines of this task carry."""
    return _context.get()


class Log:
    """Writes lines to one logger of the standard library. It never changes: `bind` returns another one."""

    __slots__ = ("_keys", "_logger")

    def __init__(self, logger: logging.Logger, keys: _Bound) -> None:
        self._logger = logger
        self._keys = keys

    def bind(self, **keys: Unpack[_Bound]) -> Log:
        """The same log, whose lines carry these keys too."""
        return Log(self._logger, {**self._keys, **keys})

    def about(self, row: Row) -> Log:
        """The same log, for lines about a row. Outside a pass, the event is the one that opened the row."""
        now = _context.get()
        return self.bind(
            machine=row.resource_id,
            policy=row.policy,
            target=row.extension,
            step="extension",
            event_id=now.event_id or row.event_id,
            correlation_id=now.correlation_id if now.event_id else row.correlation_id,
            outcome=row.outcome.value,
            ms=row.duration_ms,
            client_request_id=row.client_request_id,
        )

    def debug(self, text: str, *values: object) -> None:
        self.log(logging.DEBUG, text, *values)

    def info(self, text: str, *values: object) -> None:
        self.log(logging.INFO, text, *values)

    def warning(self, text: str, *values: object) -> None:
        """A failure of a machine, or something that was left out."""
        self.log(logging.WARNING, text, *values)

    def error(self, text: str, *values: object) -> None:
        """Trouble of our own, such as with storage, identity or configuration."""
        self.log(logging.ERROR, text, *values)

    def log(self, level: int, text: str, *values: object) -> None:
        if self._logger.isEnabledFor(level):
            keys = replace(_context.get(), **self._keys)
            self._logger.log(level, "%s", _line(mask(text % values if values else text), keys))


def logger(name: str) -> Log:
    """The log of a module."""
    return Log(logging.getLogger(name), {})


def _line(text: str, keys: Keys) -> str:
    if _as_json:
        known = {name: getattr(keys, name) for name in keys.__struct_fields__}
        # Only ASCII is written, so nothing in a foreign text can break or turn the line.
        return json.dumps({"text": text, **{name: None if value == "" else value for name, value in known.items()}})
    about = " ".join(filter(None, (keys.machine.rpartition("/")[2], keys.target)))
    ids = {"event": keys.event_id, "request": keys.client_request_id}
    named = ", ".join(f"{name} {value}" for name, value in ids.items() if value)
    return printable(f"{about}: {text}" if about else text) + printable(f" [{named}]" if named else "")
