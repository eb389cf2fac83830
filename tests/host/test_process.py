"""Child processes start, fail with a reason, and always end."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from azure.data.tables import TableServiceClient

from simulator.azurite import Azurite, AzuriteMissing, expand
from simulator.process import ChildProcess, StartFailed

TALKER = "import sys, time\nprint('listening at 7', flush=True)\ntime.sleep(600)"
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)"
)


def child(code: str, ready: str = "ready", grace: float = 5.0, logs: Path | None = None) -> ChildProcess:
    return ChildProcess("child", [sys.executable, "-c", code], ready, grace=grace, logs=logs)


def test_a_child_is_ready_when_it_says_so_and_ends_on_exit(tmp_path: Path) -> None:
    process = child(TALKER, r"listening at (\d)", logs=tmp_path).start()
    assert process.wait_ready()[1] == "7"
    pid = process.pid
    process.stop()
    process.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (tmp_path / "child.log").read_text() == "listening at 7\n"


def test_a_child_that_ignores_the_signal_is_ended_all_the_same() -> None:
    process = child(STUBBORN, grace=0.1).start()
    process.wait_ready()
    started = time.monotonic()
    process.stop()
    assert time.monotonic() - started < 3


def test_a_child_that_ends_early_shows_what_it_wrote() -> None:
    with pytest.raises(StartFailed, match=r"(?s)exit code 3.*the reason"), child("print('the reason'); exit(3)"):
        pass


def test_a_child_that_is_never_ready_is_named() -> None:
    process = child("import time; time.sleep(600)").start()
    with pytest.raises(StartFailed, match=r"was not ready after 0 s.*"):
        process.wait_ready(0.1)
    process.stop()


def test_azurite_serves_tables(azurite: Azurite) -> None:
    with TableServiceClient.from_connection_string(azurite.connection_string) as tables:
        tables.create_table_if_not_exists("probe")
        assert "probe" in [table.name for table in tables.list_tables()]
    assert set(azurite.endpoints) == {"blob", "queue", "table"}


def test_a_missing_azurite_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AzuriteMissing, match="not azurite's package folder"):
        Azurite(package=tmp_path)


@pytest.mark.parametrize("text", ["UseDevelopmentStorage=true", " usedevelopmentstorage=TRUE; "])
def test_the_short_connection_string_is_expanded(text: str) -> None:
    assert "QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1" in expand(text)
    assert expand("AccountName=x") == "AccountName=x"
