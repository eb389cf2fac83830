"""`--settings FILE`: its values are in the environment of the process only while the command runs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboarding.cli.command_list import COMMANDS
from onboarding.cli.environment import environment_of, restored_environment
from onboarding.cli.io import BadInput
from onboarding.cli.main import main


def write(folder: Path, values: object) -> str:
    file = folder / "local.settings.json"
    file.write_text(json.dumps({"Values": values}))
    return str(file)


def read(file: str) -> dict[str, str]:
    return dict(environment_of(argparse.Namespace(settings=file)))


def test_libraries_see_the_values_of_the_file_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/of/the/shell.pem")
    monkeypatch.setenv("OMS_WORKSPACE_ID", "of-the-shell")
    file = write(tmp_path, {"SSL_CERT_FILE": "/of/the/file.pem", "IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi/token"})
    with restored_environment():
        assert read(file) == dict(os.environ)
        assert os.environ["SSL_CERT_FILE"] == "/of/the/file.pem"
        assert os.environ["IDENTITY_ENDPOINT"] == "http://127.0.0.1:1/msi/token"
        assert os.environ["OMS_WORKSPACE_ID"] == "of-the-shell"
    assert os.environ["SSL_CERT_FILE"] == "/of/the/shell.pem"
    assert "IDENTITY_ENDPOINT" not in os.environ


def test_a_command_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    before = dict(os.environ)
    assert main(["status", "--settings", write(tmp_path, {"AzureWebJobsStorage": "x", "SOMETHING": "y"})]) == 2
    assert dict(os.environ) == before


def test_nothing_that_reads_the_environment_early_is_loaded_with_the_commands() -> None:
    """aiohttp reads the certificate authorities when it is imported, so the file has to be read before."""
    names = ", ".join(f"onboarding.cli.{entry.module}" for entry in COMMANDS.values())
    code = f"import sys, {names}; print(*sys.modules.keys() & {{'aiohttp', 'azure.identity'}})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_any_names_and_values_are_used_or_refused(tmp_path: Path, values: dict[str, str]) -> None:
    file = write(tmp_path, values)
    with restored_environment():
        try:
            assert read(file).items() >= values.items()
        except BadInput as error:
            assert file in str(error)  # noqa: PT017
