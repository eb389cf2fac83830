"""The commands of docs/by-hand.md with the Azure CLI, as printed, in a shell beside `make simulator`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.laptop import ROOT, SUBSCRIPTIONS
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
        command += ["--write", str(folder / "local.settings.json")]
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


def test_onboard_uses_the_login_of_az(az_file: Path, tmp_path: Path) -> None:
    """Without a managed identity the commands ask `az` for a token, as on a person's laptop."""
    settings = json.loads(az_file.with_name("local.settings.json").read_text("utf-8"))
    values = {name: value for name, value in settings["Values"].items() if not name.startswith("IDENTITY_")}
    mine = tmp_path / "local.settings.json"
    mine.write_text(json.dumps({"Values": values}), "utf-8")
    (variables,) = re.findall(r"^az\(\) \{ env (.*) az \"\$@\"; \}$", az_file.read_text("utf-8"), re.MULTILINE)
    command = f"{sys.executable} -m onboarding extensions -g myResourceGroup -n myVM --settings {mine}"
    subscription = next(iter(SUBSCRIPTIONS))
    done = shell(
        f"source {az_file}; export {variables}; unset IDENTITY_ENDPOINT IDENTITY_HEADER; "
        f"SSL_CERT_FILE={values['SSL_CERT_FILE']} {command} --subscription {subscription}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "myVM: VM running, guest agent ready" in done.stdout


def test_only_its_owner_reads_the_file_with_the_secret(az_file: Path) -> None:
    assert az_file.stat().st_mode & 0o777 == 0o600


def test_the_managed_identity_signs_in_too(az_file: Path) -> None:
    """The last test, because it replaces the login."""
    done = shell(f"source {az_file}; az login --identity -o none; az account show --query user.name -o tsv")
    assert (done.returncode, done.stdout.strip()) == (0, "systemAssignedIdentity"), done.stderr
