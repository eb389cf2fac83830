"""What the line's bench runs on: Azurite and the lean ARM in processes of their own, and the environment of both.

Children may write byte code, whatever this shell says: an import without it is another import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from bench.workload import WORKSPACE, WORKSPACE_KEY
from simulator.azurite import Azurite, connection_string
from simulator.laptop import ROOT, forget_settings
from simulator.process import ChildProcess

_NO_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"
_TABLE, _QUEUE = "onboarding", "deferrals"


class BenchFailed(Exception):
    """A part of the bench ended badly; its output says why."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, without the settings of any deployment and with byte code, and these settings."""
    own = dict(os.environ)
    forget_settings(own)
    own.pop(_NO_BYTE_CODE, None)
    return {**own, "NO_PROXY": "localhost,127.0.0.1", "PYTHONPATH": str(ROOT), **settings}


def run_child(module: str, arguments: Mapping[str, object], settings: Mapping[str, str]) -> dict[str, Any]:
    """Run a module of the bench in a process of its own; the JSON of its last line."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in arguments.items()]
    command = [sys.executable, "-m", module, *given]
    done = subprocess.run(command, env=environment(settings), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailed(f"{module} {' '.join(given)}:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@dataclass(frozen=True, slots=True)
class Parts:
    """Azurite and the lean ARM, running."""

    azurite: Azurite
    arm: str
    other_door: str
    certificates: Path

    @property
    def settings(self) -> dict[str, str]:
        """The app settings that lead the product here."""
        return {
            "AzureWebJobsStorage": self.azurite.connection_string,
            "ARM_ENDPOINT": self.arm,
            "IDENTITY_ENDPOINT": f"{self.other_door}/token",
            "IDENTITY_HEADER": "header",
            "SSL_CERT_FILE": str(self.certificates / "ca.pem"),
            "REQUESTS_CA_BUNDLE": str(self.certificates / "ca.pem"),
            "OMS_WORKSPACE_ID": WORKSPACE,
            "OMS_WORKSPACE_KEY": WORKSPACE_KEY,
        }

    def record(self, latency_ms: float | None = None, fleet: int = 0) -> dict[str, Any]:
        """What ARM was asked; with a latency, a new record begins. `fleet`: so many VMs in Resource Graph."""
        query = "" if latency_ms is None else f"?latency={latency_ms / 1000}&fleet={fleet}"
        with urllib.request.urlopen(f"{self.other_door}/record{query}") as answer:
            record: dict[str, Any] = json.load(answer)
        return record

    def empty_storage(self) -> None:
        """An empty table, since Azurite's queries slow down with every row, and a queue that keeps what it has: each
        minute Azurite looks for messages that were cleared, and stands still for seconds where it finds thousands."""
        connection = self.azurite.connection_string
        with TableClient.from_connection_string(connection, _TABLE) as table:
            with suppress(ResourceNotFoundError):
                table.delete_table()
            table.create_table()
        with QueueClient.from_connection_string(connection, _QUEUE) as queue, suppress(ResourceExistsError):
            queue.create_queue()


@contextmanager
def watched_storage(parts: Parts) -> Iterator[tuple[dict[str, str], Callable[[], list[list[Any]]]]]:
    """The settings that lead to storage by way of a proxy, and what it has written down since it was last asked."""
    endpoints = {kind: parts.azurite.endpoints[kind] for kind in ("queue", "table")}
    command = [sys.executable, "-m", "bench.programs.proxy", *endpoints.values()]
    with ChildProcess("proxy", command, r"^ready (\d+) (\d+)$") as proxy:
        ports = proxy.wait_ready().groups()
        doors = {kind: f"http://127.0.0.1:{port}" for kind, port in zip(endpoints, ports, strict=True)}

        def record() -> list[list[Any]]:
            with urllib.request.urlopen(f"{doors['table']}/record") as answer:
                told: list[list[Any]] = json.load(answer)
            return told

        yield {**parts.settings, "AzureWebJobsStorage": connection_string(doors)}, record


@contextmanager
def running_parts() -> Iterator[Parts]:
    """Start both, and end both."""
    with ExitStack() as ending:
        folder = Path(ending.enter_context(TemporaryDirectory(prefix="bench-")))
        arm = ChildProcess("arm", [sys.executable, "-m", "bench.programs.arm", str(folder)], r"^ready (\d+) (\d+)$")
        ending.callback(arm.stop)
        arm.start()
        azurite = ending.enter_context(Azurite())
        ready = arm.wait_ready()
        yield Parts(azurite, f"https://127.0.0.1:{ready[1]}", f"http://127.0.0.1:{ready[2]}", folder)
