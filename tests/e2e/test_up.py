"""The laptop without a host: a host that starts later uses its settings file and gets the events of its VMs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient

from simulator.host_process import FunctionsHost
from simulator.laptop import ROOT


def test_a_host_that_starts_later_gets_the_events_of_the_fleet(tmp_path: Path) -> None:
    file, log = tmp_path / "local.settings.json", tmp_path / "up.log"
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "simulator", "up", "--to", f"http://{address}", "--write", str(file), "--vms", "1"]
    command += ["--az", str(tmp_path / "az.env")]
    with log.open("wb") as output:
        up = subprocess.Popen([*command, "--schema", "cloudevents"], cwd=ROOT, stdout=output, stderr=output)
    try:
        wait_for(lambda: "Waiting for a host" in log.read_text())
        values = json.loads(file.read_text())["Values"]
        assert values["FUNCTIONS_WORKER_RUNTIME"] == "python"
        # A certificate authority of this shell would override that of the file.
        environment = {"SSL_CERT_FILE": values["SSL_CERT_FILE"]} if "SSL_CERT_FILE" in os.environ else {}
        arguments = ("--settings", str(file), "--port", address.rpartition(":")[2])
        with (
            FunctionsHost(ROOT, environment, arguments=arguments),
            TableClient.from_connection_string(values["AzureWebJobsStorage"], "onboarding") as table,
        ):
            wait_for(lambda: outcomes(table) == ["Installed"])
        up.send_signal(signal.SIGINT)
        assert up.wait(20) == 0
    finally:
        up.kill()
        up.wait()
    assert "answered the handshake" in log.read_text()


def outcomes(table: TableClient) -> list[str]:
    try:
        rows = table.query_entities("RowKey ge 'vm|' and RowKey lt 'vm}'")
        return [row["Outcome"] for row in rows if "Outcome" in row]  # the machine row has none
    except ResourceNotFoundError:
        return []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(holds: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not in {within:.0f} s"
        time.sleep(0.05)
