"""Log lines of host and app on stderr, with the function and invocation of each.

Levels follow `logging.logLevel` of host.json by category, the app's own lines being `Function.<name>.User`; here,
as with Core Tools, the longest matching prefix decides. Requests that the host's own storage clients make are
left out: in Azure they belong to another process.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from azure_functions_runtime import invocation_id_cv

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(where)s%(message)s"
_SDK_REQUESTS = "azure.core.pipeline.policies.http_logging_policy"
_DEFAULT_LEVEL = logging.INFO

host_logger = logging.getLogger("simulator.host")


@dataclass(frozen=True, slots=True)
class Invocation:
    """The function and the run of a line."""

    function: str
    id: str


current: ContextVar[Invocation | None] = ContextVar("current", default=None)

# In the library's thread pool our context is not set, but the library's own invocation id is set.
running: dict[str, Invocation] = {}


def configure(levels: Mapping[str, int], quiet: bool) -> None:
    """Send everything to stderr, in one form; `quiet` leaves warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
    handler.addFilter(_Filter(levels, logging.WARNING if quiet else logging.NOTSET))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(min([_DEFAULT_LEVEL, *levels.values()]))
    # The library logs each invocation, and so does the host.
    logging.getLogger("azure.functions").setLevel(logging.WARNING)


class _Filter(logging.Filter):
    def __init__(self, levels: Mapping[str, int], least: int) -> None:
        super().__init__()
        self._levels = levels
        self._least = least

    def filter(self, record: logging.LogRecord) -> bool:
        invocation = current.get() or running.get(invocation_id_cv.get() or "")
        record.where = f"[{invocation.function} {invocation.id[:8]}] " if invocation else ""
        if invocation is None and record.name == _SDK_REQUESTS:
            return False
        return record.levelno >= max(self._least, self._level(_category(record, invocation)))

    def _level(self, category: str) -> int:
        prefixes = [name for name in self._levels if f"{category}.".startswith(f"{name}.")]
        name = max(prefixes, key=len, default="default")
        return self._levels.get(name, self._levels.get("default", _DEFAULT_LEVEL))


def _category(record: logging.LogRecord, invocation: Invocation | None) -> str:
    if invocation is None:
        return "Host"
    own = record.name.startswith(host_logger.name)
    return f"Function.{invocation.function}{'' if own else '.User'}"
