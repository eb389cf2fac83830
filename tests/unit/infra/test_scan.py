"""The findings of checkov: each has its reason, and where checkov is installed, no other is found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.unit.infra.deployed import INFRA, ROOT

CHECKOV = shutil.which(os.environ.get("CHECKOV", "checkov"))


def scan(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "scan.py")]
    return subprocess.run(command, env=environment or None, capture_output=True, text=True, check=False)


@pytest.mark.skipif(CHECKOV is None, reason="needs checkov, which CHECKOV or the PATH names")
@pytest.mark.timeout(180)  # checkov loads for several seconds
def test_every_finding_is_explained() -> None:
    done = scan()
    assert (done.returncode, "all explained" in done.stdout) == (0, True), done.stdout + done.stderr


def test_without_checkov_the_scan_says_that_it_is_skipped() -> None:
    done = scan(CHECKOV="no-such-program")
    assert done.returncode == 0
    assert "checkov: skipped" in done.stdout


def test_each_explanation_names_a_check_its_resources_and_a_reason() -> None:
    profiles = {path.name.removesuffix(".bicepparam") for path in INFRA.glob("profiles/*.bicepparam")}
    explained = yaml.safe_load((INFRA / "checkov.yaml").read_text())
    for each in explained:
        assert set(each) <= {"check", "type", "profiles", "reason"}
        assert re.fullmatch(r"CKV_AZURE_\d+", each["check"])
        assert re.fullmatch(r"Microsoft\.\w+(/\w+)+", each["type"])
        assert set(each.get("profiles", profiles)) <= profiles
        assert len(each["reason"]) > 10
