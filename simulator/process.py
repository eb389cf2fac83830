"""Child processes that end with their parent: Azurite, the functions host, and others of demos and tests.

A child gets a pipe as standard input and ends when that closes, so it ends even if the parent is killed. Each child has
its own process group, so Ctrl-C reaches only the parent, which then stops the children in order. The output of each
child goes to a file, whose end is shown if the child fails. POSIX only.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_TAIL = 40
_POLL = 0.02
_running: list[ChildProcess] = []


class StartFailed(Exception):
    """A child ended, or stayed silent, before it was ready."""


class Runnable(ABC):
    """A process or service that is started, becomes ready, and is stopped; the context manager does all three."""

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def wait_ready(self) -> object: ...

    @abstractmethod
    def stop(self) -> None: ...

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class ChildProcess(Runnable):
    """One child; the context manager starts it, waits until it is ready, and stops it at the end."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ready: str,
        *,
        environment: Mapping[str, str] | None = None,
        logs: Path | None = None,
        grace: float = 10.0,
    ) -> None:
        """`ready` is a pattern of one output line; `environment` is added to our own; `grace` is its time to end."""
        self.name = name
        self._command = [*command]
        self._ready = re.compile(ready, re.MULTILINE)
        self._environment = dict(environment or {})
        self._logs = logs
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._output: IO[bytes] | None = None
        self.log = Path(os.devnull)
        self._written = ""

    def start(self) -> Self:
        """Start the child and return at once; `wait_ready` waits for it."""
        folder = self._log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{self.name}.log"
        self._output = self.log.open("wb")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment},
            start_new_session=True,
        )
        _running.append(self)
        return self

    def wait_ready(self, timeout: float = 30.0) -> re.Match[str]:
        """Wait for the line that says the child is ready. Blocks: call it through `asyncio.to_thread` in a loop."""
        deadline = time.monotonic() + timeout
        while (line := self._ready.search(self.output())) is None:
            if self.exit_code is not None:
                raise self._failed(f"ended with exit code {self.exit_code}")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready after {timeout:.0f} s")
            time.sleep(_POLL)
        return line

    @property
    def pid(self) -> int:
        return self._live().pid

    @property
    def exit_code(self) -> int | None:
        return self._live().poll()

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the child to end by itself."""
        return self._live().wait(timeout)

    def output(self) -> str:
        """The child's output, also after its end."""
        return self._written if self._process is None else self.log.read_text("utf-8", errors="replace")

    def tail(self, lines: int = _TAIL) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def stop(self) -> None:
        """Stop the child: with SIGTERM, then with SIGKILL. Does nothing if it has ended or was never started."""
        process, self._process = self._process, None
        if process is None:
            return
        _running.remove(self)
        _end(process, self._grace)
        self._written = self.log.read_text("utf-8", errors="replace")
        if self._output is not None:
            self._output.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _live(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _log_folder(self) -> Path:
        if self._logs is not None:
            return self._logs
        self._scratch = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        return Path(self._scratch.name)

    def _failed(self, how: str) -> StartFailed:
        return StartFailed(f"{self.name} {how}; it wrote:\n{self.tail() or '(nothing)'}")


def stop_all() -> None:
    """Stop every child that still runs, the last started first."""
    for child in reversed(_running.copy()):
        child.stop()


atexit.register(stop_all)


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    if process.stdin is not None:
        process.stdin.close()
    _signal_group(process, signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)
