"""The functions host as a child process, for the demo, the tests and the bench."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

from simulator.process import ChildProcess, Runnable

_ROOT = Path(__file__).resolve().parent.parent
_READY = r'^\{"url": .*\}$'
_GRACE = 15.0  # a little more than the host gives its running functions


class FunctionsHost(Runnable):
    """Runs the app in `app`; `environment` has its settings, including the storage connection."""

    def __init__(
        self,
        app: Path,
        environment: Mapping[str, str] | None = None,
        *,
        arguments: Sequence[str] = (),
        logs: Path | None = None,
    ) -> None:
        """`arguments` are further ones of `python -m simulator.host`."""
        command = [sys.executable, "-m", "simulator.host", "--app", str(app), "--end-with-parent", *arguments]
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        settings = {**(environment or {}), "PYTHONPATH": path}
        self._process = ChildProcess("host", command, _READY, environment=settings, logs=logs, grace=_GRACE)
        self.url = ""
        self.errors: dict[str, str] = {}
        self.key: str | None = None

    def start(self) -> Self:
        self._process.start()
        return self

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until the host serves requests. Blocks; StartFailed has the host's output."""
        ready = json.loads(self._process.wait_ready(timeout)[0])
        self.url, self.errors, self.key = ready["url"], ready["errors"], ready.get("key")

    def event_grid_endpoint(self, function: str) -> str:
        """The endpoint for an event subscription."""
        query = {"functionName": function} | ({"code": self.key} if self.key else {})
        return f"{self.url}/runtime/webhooks/eventgrid?{urlencode(query)}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.exit_code

    def output(self) -> str:
        """The host's log so far."""
        return self._process.output()

    def stop(self) -> None:
        self._process.stop()
