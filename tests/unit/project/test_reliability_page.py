"""The reliability page names tests, and each of them exists."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_every_test_on_the_page_exists(file: str, test: str) -> None:
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)


def test_every_guarantee_names_a_test() -> None:
    lines = PAGE.splitlines()
    head = next(number for number, line in enumerate(lines) if line.endswith("| Held by |"))
    rows = list(takewhile(lambda line: line.startswith("| "), lines[head + 2 :]))
    assert len(rows) > 10
    assert all("tests/" in row for row in rows)
