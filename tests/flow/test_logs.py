"""A handler's log: the script that prints it, and its lines, masked and explained."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.core.handler_log import diagnose_lines, log_script, read_output
from onboarding.files import load_catalogue

OMS = load_catalogue()["oms-agent-linux"]
NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEY = "z4bU3p1/GrnWpQkky4gdabWXAhbWSTz70hm4m2Xt92XI+rSRgE8qVvRhsGo9TXffbrTahyrwv35W0pOqQAU7uQ=="


def test_the_script_reads_the_documents_log_and_no_more_than_asked_for() -> None:
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


def test_a_failure_is_explained_where_it_is_first_told() -> None:
    text = "Extracting...\nInstall failed with exit code 62\nInstall failed with exit code 62\nall is well"
    lines = list(diagnose_lines(text, OMS.errors, NOW))
    assert [line.failure.meaning if line.failure else "" for line in lines] == ["", "Missing tar program", "", ""]


def test_keys_and_proxies_are_masked() -> None:
    text = f"omsadmin.sh -w 6f680a37-00c6-41c7-a93f-1437e3462574 -s {KEY} -p user:hush-hush@proxy:80"
    (line,) = diagnose_lines(text, OMS.errors, NOW)
    assert KEY not in line.text
    assert "hush-hush" not in line.text
    assert "6f680a37" in line.text


@given(st.text(max_size=400))
def test_no_log_makes_it_raise(text: str) -> None:
    for line in diagnose_lines(read_output(text), OMS.errors, NOW):
        assert isinstance(line.text, str)
