"""The gate on branches of the pure part: it opens for enough of them, and never where nothing was measured."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def measured(covered: int, there: int, missing: list[list[int]]) -> dict[str, Any]:
    totals = {"covered_branches": covered, "num_branches": there}
    return {"totals": totals, "files": {"a.py": {"missing_branches": missing}, "b.py": {"missing_branches": []}}}


@pytest.fixture
def gate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("branch_coverage", ROOT / "scripts" / "branch_coverage.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("report", "code", "says"),
    [
        (measured(95, 100, [[3, -1]]), 0, ["95 of 100 branches were taken: 95.0 %, at least 95 % are asked for"]),
        (
            measured(94, 100, [[3, -1], [7, 9]]),
            1,
            ["a.py: 3->exit, 7->9", "94 of 100 branches were taken: 94.0 %, at least 95 % are asked for"],
        ),
        (measured(0, 0, []), 1, ["0 of 0 branches were taken: 0.0 %, at least 95 % are asked for"]),
    ],
)
def test_too_few_branches_are_named_and_stop_the_build(
    gate: ModuleType, report: dict[str, Any], code: int, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main(report) == code
    assert capsys.readouterr().out.splitlines() == says
