"""The file that a shell sources to use the Azure CLI with the simulator, with a script in the CLI's place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from simulator.arm import Endpoints
from simulator.arm.entra.directory import ServicePrincipal
from simulator.az import az_environment, login_commands, write_az_file

FAKE = """#!/bin/sh
echo "$REQUESTS_CA_BUNDLE $AZURE_CORE_COLLECT_TELEMETRY $HTTPS_PROXY az $*" >> "{log}"
[ "$1" != account ] || [ -e "{signed_in}" ] || exit 1
[ "$1" != login ] || touch "{signed_in}"
"""


class Shell:
    """A shell in whose path the script is; `file` is the file to source."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "bin").mkdir()
        script, log = folder / "bin" / "az", folder / "log"
        script.write_text(FAKE.format(log=log, signed_in=folder / "signed-in"), "utf-8")
        script.chmod(0o755)
        self.log = log
        self.principal = ServicePrincipal("operator")
        endpoints = Endpoints("https://127.0.0.1:1", "http://127.0.0.1:2", "header", folder / "ca.pem")
        self.environment = az_environment(endpoints)
        self.file = folder / "run" / "az.env"
        commands = login_commands(endpoints.arm, self.principal, "tenant")
        write_az_file(self.file, self.environment, commands, folder / "bin")

    def run(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-eu", "-c", text], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
        )
        return done.stdout

    def sent(self) -> list[str]:
        """The arguments of the calls so far."""
        return [line.partition(" az ")[2] for line in self.log.read_text("utf-8").splitlines()]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_the_first_shell_signs_in_and_the_second_is_signed_in(shell: Shell) -> None:
    shell.run(f"source {shell.file}")
    assert [line.split()[0] for line in shell.sent()] == ["account", "cloud", "cloud", "login"]
    assert f"--username {shell.principal.client_id} --password {shell.principal.secret}" in shell.sent()[-1]
    shell.run(f"source {shell.file}; az vm list")
    assert shell.sent()[4:] == ["account show --output none", "vm list"]


def test_each_command_has_the_clouds_environment_and_the_shell_has_not(shell: Shell) -> None:
    out = shell.run(f"source {shell.file}; az vm list; env")
    assert "AZURE_" not in out
    assert "PROXY" not in out
    expected = " ".join(
        shell.environment[name] for name in ("REQUESTS_CA_BUNDLE", "AZURE_CORE_COLLECT_TELEMETRY", "HTTPS_PROXY")
    )
    assert {line.partition(" az ")[0] for line in shell.log.read_text("utf-8").splitlines()} == {expected}


def test_only_its_owner_reads_the_file(shell: Shell) -> None:
    assert shell.file.stat().st_mode & 0o777 == 0o600
