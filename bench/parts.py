"""The processes that the bench runs on: Azurite and the minimal ARM, and the environment of both.

Child processes may write byte code, whatever this shell sets: importing without it takes longer.
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
    """A process of the bench failed; the text has its output."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, without settings of any deployment, with byte code, and with these settings."""
    own = dict(os.environ)
    forget_settings(own)
    own.pop(_NO_BYTE_CODE, None)
    return {**own, "NO_PROXY": "localhost,127.0.0.1", "PYTHONPATH": str(ROOT), **settings}


def run_child(module: str, arguments: Mapping[str, object], settings: Mapping[str, str]) -> dict[str, Any]:
    """Run a module of the bench in its own process; returns the JSON of its last line."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in arguments.items()]
    command = [sys.executable, "-m", module, *given]
    done = subprocess.run(command, env=environment(settings), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailed(f"{module} {' '.join(given)}:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@dataclass(frozen=True, slots=True)
class Parts:
    """Azurite and the minimal ARM, running."""

    azurite: Azurite
    arm: str
    """The URL of the minimal ARM."""
    control_url: str
    """The URL of its managed identity and its record."""
    certificates: Path
    """The folder with the certificate authority of the minimal ARM."""

    @property
    def settings(self) -> dict[str, str]:
        """The app settings with which the product uses these processes."""
        return {
            "AzureWebJobsStorage": self.azurite.connection_string,
            "ARM_ENDPOINT": self.arm,
            "IDENTITY_ENDPOINT": f"{self.control_url}/token",
            "IDENTITY_HEADER": "header",
            "SSL_CERT_FILE": str(self.certificates / "ca.pem"),
            "REQUESTS_CA_BUNDLE": str(self.certificates / "ca.pem"),
            "OMS_WORKSPACE_ID": WORKSPACE,
            "OMS_WORKSPACE_KEY": WORKSPACE_KEY,
        }

    def record(self, latency_ms: float | None = None, fleet: int = 0, subscriptions: int = 1) -> dict[str, Any]:
        """ARM's record of its requests; with a latency, a new record begins. `fleet`: the VMs in Resource Graph, spread
        over the subscriptions."""
        given = f"fleet={fleet}&subscriptions={subscriptions}"
        query = "" if latency_ms is None else f"?latency={latency_ms / 1000}&{given}"
        with urllib.request.urlopen(f"{self.control_url}/record{query}") as answer:
            record: dict[str, Any] = json.load(answer)
        return record

    def empty_storage(self) -> None:
        """Empty the table, since Azurite's queries slow down with every row.

        The queue keeps its messages: once a minute Azurite collects cleared messages, and if it finds thousands it does
        not answer for seconds.
        """
        connection = self.azurite.connection_string
        with TableClient.from_connection_string(connection, _TABLE) as table:
            with suppress(ResourceNotFoundError):
                table.delete_table()
            table.create_table()
        with QueueClient.from_connection_string(connection, _QUEUE) as queue, suppress(ResourceExistsError):
            queue.create_queue()


@contextmanager
def watched_storage(parts: Parts) -> Iterator[tuple[dict[str, str], Callable[[], list[list[Any]]]]]:
    """The settings for storage behind a recording proxy, and a function that returns its record since the last call."""
    endpoints = {kind: parts.azurite.endpoints[kind] for kind in ("queue", "table")}
    command = [sys.executable, "-m", "bench.programs.proxy", *endpoints.values()]
    with ChildProcess("proxy", command, r"^ready (\d+) (\d+)$") as proxy:
        ports = proxy.wait_ready().groups()
        proxies = {kind: f"http://127.0.0.1:{port}" for kind, port in zip(endpoints, ports, strict=True)}

        def record() -> list[list[Any]]:
            with urllib.request.urlopen(f"{proxies['table']}/record") as answer:
                requests: list[list[Any]] = json.load(answer)
            return requests

        yield {**parts.settings, "AzureWebJobsStorage": connection_string(proxies)}, record


@contextmanager
def running_parts() -> Iterator[Parts]:
    """Start both, and stop both at the end."""
    with ExitStack() as ending:
        folder = Path(ending.enter_context(TemporaryDirectory(prefix="bench-")))
        arm = ChildProcess("arm", [sys.executable, "-m", "bench.programs.arm", str(folder)], r"^ready (\d+) (\d+)$")
        ending.callback(arm.stop)
        arm.start()
        azurite = ending.enter_context(Azurite())
        ready = arm.wait_ready()
        yield Parts(azurite, f"https://127.0.0.1:{ready[1]}", f"http://127.0.0.1:{ready[2]}", folder)
