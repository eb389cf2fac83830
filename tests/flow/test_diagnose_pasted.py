"""What people paste into `onboard diagnose`, tool by tool; the cases are in `pasted_cases.yaml`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.main import main

type Capture = pytest.CaptureFixture[str]
CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("pasted_cases.yaml").read_text(encoding="utf-8"))


def ask(capsys: Capture, given: Any) -> list[dict[str, Any]]:
    text = given if isinstance(given, str) else json.dumps(given)
    assert main(["diagnose", "--format", "json", text]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_is_pasted_is_read(capsys: Capture, case: dict[str, Any]) -> None:
    assert [[answer["cause"], answer["exit_code"]] for answer in ask(capsys, case["given"])] == case["want"]
