"""Azurite: the storage account on the laptop. Finds it, starts it on free ports, and stops it with this process.

It keeps data in memory unless a folder is given. `node` runs it directly, without npm's wrappers, so that there is only
one process to stop. The account name and key are Azurite's published ones and give access to nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from simulator.process import ChildProcess, Runnable

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_ROOT = Path(__file__).resolve().parent.parent
_MAIN = Path("dist/src/azurite.js")
_WATCH_PARENT = _ROOT / "simulator" / "end_with_parent.cjs"
_LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at (http://\S+)")
_READY = r"Azurite Table service is successfully listening at "


class AzuriteMissing(Exception):
    """Azurite cannot be started here; says what to install."""


class Azurite(Runnable):
    """A running Azurite with blob, queue and table services, each on its own port."""

    def __init__(
        self, location: Path | None = None, *, package: Path | None = None, ports: tuple[int, int, int] = (0, 0, 0)
    ) -> None:
        """`location` keeps the data; `package` is azurite's folder; `ports` are blob, queue, table (0: a free one)."""
        self._location, self._package = location, package
        self._process = self._child(ports)
        self.endpoints: dict[str, str] = {}

    def start(self) -> Self:
        self._process.start()
        return self

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until all three services listen. Blocks."""
        self._process.wait_ready(timeout)
        self.endpoints = {kind.lower(): url for kind, url in _LISTENING.findall(self._process.output())}

    @property
    def connection_string(self) -> str:
        return connection_string(self.endpoints)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.stop()

    def close(self, timeout: float = 30.0) -> None:
        """Stop it normally, so that all its data is in its folder, which it writes only every few seconds. Blocks."""
        os.kill(self.pid, signal.SIGTERM)
        self._process.wait(timeout)
        self._process.stop()

    def reopen(self, timeout: float = 60.0) -> None:
        """Start it again after `close`, at the same addresses. Blocks."""
        blob, queue, table = (urlsplit(self.endpoints[kind]).port or 0 for kind in ("blob", "queue", "table"))
        self._process = self._child((blob, queue, table))
        self.start()
        self.wait_ready(timeout)

    def _child(self, ports: tuple[int, int, int]) -> ChildProcess:
        return ChildProcess("azurite", _command(self._package, self._location, ports), _READY, grace=3.0)


def connection_string(endpoints: dict[str, str]) -> str:
    """The connection string of an Azurite whose services answer at these addresses."""
    services = "".join(f"{kind.capitalize()}Endpoint={url}/{ACCOUNT};" for kind, url in sorted(endpoints.items()))
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{services}"


def expand(connection: str) -> str:
    """`UseDevelopmentStorage=true` in full, which the Python storage clients do not know; others unchanged."""
    if connection.strip().rstrip(";").lower() != "usedevelopmentstorage=true":
        return connection
    ports = {"blob": 10000, "queue": 10001, "table": 10002}
    return connection_string({kind: f"http://127.0.0.1:{port}" for kind, port in ports.items()})


def _command(package: Path | None, location: Path | None, ports: tuple[int, int, int]) -> list[str]:
    blob, queue, table = (str(port) for port in ports)
    storage = ["--inMemoryPersistence"] if location is None else ["--location", str(location)]
    return [
        *(_find_node(), "--require", str(_WATCH_PARENT), str(_find_main(package))),
        *("--blobPort", blob, "--queuePort", queue, "--tablePort", table),
        # The storage clients use newer service versions than Azurite knows; the calls are the same.
        *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
        *storage,
    ]


def _find_node() -> str:
    node = shutil.which("node")
    if node is None:
        raise AzuriteMissing(
            "node is not on the PATH: install Node.js 20 or newer (https://nodejs.org), then `make setup`"
        )
    return node


def _find_main(package: Path | None) -> Path:
    """Azurite's script: of the given folder, of the folder that AZURITE names, or of this project's node_modules."""
    named = package or (Path(os.environ["AZURITE"]) if os.environ.get("AZURITE") else None)
    folder = named or _ROOT / "node_modules" / "azurite"
    main = folder / _MAIN
    if not main.is_file():
        fix = (
            "is not azurite's package folder"
            if named
            else "is missing: run `make setup`, or name its folder in AZURITE"
        )
        raise AzuriteMissing(f"{folder} {fix} (looked for {main})")
    return main
