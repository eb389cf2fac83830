"""The log of a handler: the script that prints it, and its lines, masked and explained."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.failures.handler_log import diagnose_lines, log_script, read_output
from onboarding.domain.machine.machine_facts import OsType
from onboarding.loading.policy_folder import load_catalogue
from tests.windows_entry import windows_entry

OMS = load_catalogue()["oms-agent-linux"]
NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEY = "z4bU3p1/GrnWpQkky4gdabWXAhbWSTz70hm4m2Xt92XI+rSRgE8qVvRhsGo9TXffbrTahyrwv35W0pOqQAU7uQ=="


def test_the_script_reads_the_documented_logs_and_no_more_lines_than_wanted() -> None:
    script = log_script(OMS, 20)
    assert script.startswith("tail -v -n 20 /opt/microsoft/omsagent/bin/stdout /var/log/azure/")
    assert not set(script) & set("`$|&\\\"'")


@pytest.mark.parametrize(
    ("message", "output"),
    [
        ("Enable succeeded: \n[stdout]\n==> a <==\nx\n\n[stderr]\n", "==> a <==\nx"),
        ("Enable succeeded: \n[stdout]\n\n[stderr]\nsome noise\n", ""),
        ("x\n[stdout]\na\n[stdout]\nb\n[stderr]\nc\n\n[stderr]\n", "a\n[stdout]\nb\n[stderr]\nc"),
        ("something else", "something else"),
    ],
)
def test_the_output_is_found_in_the_status(message: str, output: str) -> None:
    assert read_output(message) == output


def test_a_failure_is_explained_at_its_first_line() -> None:
    text = "Extracting...\nInstall failed with exit code 62\nInstall failed with exit code 62\nall is well"
    lines = list(diagnose_lines(text, OMS.errors, NOW))
    assert [line.failure.meaning if line.failure else "" for line in lines] == ["", "Missing tar program", "", ""]


def test_keys_and_proxies_are_masked() -> None:
    text = f"omsadmin.sh -w 6f680a37-00c6-41c7-a93f-1437e3462574 -s {KEY} -p user:hush-hush@proxy:80"
    (line,) = diagnose_lines(text, OMS.errors, NOW)
    assert KEY not in line.text
    assert "hush-hush" not in line.text
    assert "6f680a37" in line.text


def test_on_windows_powershell_prints_the_files_and_runs_nothing_else() -> None:
    script = log_script(windows_entry(), 20)
    paths = windows_entry().logs
    assert script.startswith(f"Get-ChildItem -Path '{paths[0]}','{paths[1]}' -File -ErrorAction SilentlyContinue |")
    assert "-Tail 20 " in script
    outside = script.replace(f"'{paths[0]}'", "").replace(f"'{paths[1]}'", "")
    assert "'" not in outside
    assert outside.count("$") == 3, "the file's name, shown and read"


def test_on_windows_the_whole_message_is_the_output() -> None:
    said = "==> C:\\a.log <==\r\n[stdout]\r\nx\r\n[stderr]\r\ny\r\n"
    assert read_output(said, OsType.WINDOWS) == "==> C:\\a.log <==\n[stdout]\nx\n[stderr]\ny"


@given(st.text(max_size=400))
def test_any_log_is_read_without_an_error(text: str) -> None:
    for line in diagnose_lines(read_output(text), OMS.errors, NOW):
        assert isinstance(line.text, str)
