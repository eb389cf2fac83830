"""`onboard diagnose` on field samples of what people pasted."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from onboarding.cli.main import main
from tests.shared_samples import needs_samples, read_lines

CASES = [case for case in read_lines("field/diagnose.jsonl") if case["door"] == "diagnose"]


@needs_samples
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_field_samples_are_diagnosed_correctly(case: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given = case["input"] if isinstance(case["input"], str) else json.dumps(case["input"])
    assert main(["diagnose", "--format", "json", given]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(_fits(answers, want) for want in case["want"]), answers


def _fits(answers: list[dict[str, Any]], want: dict[str, Any]) -> bool:
    if want.get("answers") == 0:
        return not answers
    return len(answers) == 1 and _is(answers[0], want)


def _is(answer: dict[str, Any], want: dict[str, Any]) -> bool:
    output = f"{answer['meaning']} {answer['advice']}"
    return (
        all(answer[key] in _list(want[key]) for key in ("class", "cause", "exit_code") if key in want)
        and ("says" not in want or re.search(want["says"], output, re.IGNORECASE) is not None)
        and ("says_not" not in want or re.search(want["says_not"], output, re.IGNORECASE) is None)
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
