"""The page on reliability names tests; each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_every_test_that_the_page_names_exists(file: str, test: str) -> None:
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)


def test_every_guarantee_names_a_test() -> None:
    table = PAGE.partition("## Guarantees")[2].partition("\n## ")[0]
    guarantees = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| Guarantee")]
    assert len(guarantees) > 10
    assert all("tests/" in line for line in guarantees)
