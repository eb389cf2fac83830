"""The commands of docs/by-hand.md with the Azure CLI, as printed, in a shell beside `make simulator`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.laptop import ROOT
from tests.az.conftest import AZ

_PAGE = ROOT / "docs" / "by-hand.md"
_ENV = ".run/az.env"


def blocks() -> list[str]:
    """The commands of the chapter, block by block."""
    (chapter,) = re.findall(
        r"^## With the Azure CLI alone\n(.*?)^## ", _PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    found: list[str] = re.findall(r"^```sh\n(.*?)^```", chapter, re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture(scope="module")
def az_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `make simulator` writes for a shell; no host is needed for these commands."""
    folder = tmp_path_factory.mktemp("simulator")
    file, log = folder / "az.env", folder / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "simulator", "up", "--az", str(file), "--to", "http://127.0.0.1:9"]
        up = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while "Waiting for a host" not in log.read_text():
            assert up.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield file
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(20)


def shell(text: str) -> subprocess.CompletedProcess[str]:
    """Run the text as one shell does, and stop at the first command that fails."""
    path = f"{Path(AZ).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": os.environ.get("HOME", "/")}
    command = ["bash", "-eu", "-o", "pipefail", "-c", text]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_every_block_runs_as_printed(az_file: Path) -> None:
    source, *others = blocks()
    assert source.strip() == f"source {_ENV}"
    done = shell("\n".join([source.replace(_ENV, str(az_file)), *others]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OmsAgentForLinux  Succeeded            Microsoft.EnterpriseCloud.Monitoring  1.0" in done.stdout
    assert "VM running" in done.stdout


def test_a_second_shell_is_signed_in_already_and_nothing_else_changes_in_it(az_file: Path) -> None:
    done = shell(
        f'before=$(env | sort); source {az_file}; diff <(echo "$before") <(env | sort); az account show -o tsv'
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Simulated subscription" in done.stdout


def test_the_managed_identity_signs_in_too(az_file: Path) -> None:
    done = shell(f"source {az_file}; az login --identity -o none; az account show --query user.name -o tsv")
    assert (done.returncode, done.stdout.strip()) == (0, "systemAssignedIdentity"), done.stderr


def test_only_its_owner_reads_the_file_with_the_secret(az_file: Path) -> None:
    assert az_file.stat().st_mode & 0o777 == 0o600
