"""What the bench says of what it measured."""

from __future__ import annotations

import pytest

from bench.report import Figure, page

PAGE = "# Title\n\n<!-- begin: figures -->\nold\n<!-- end: figures -->\n\ntail\n"


@pytest.mark.parametrize(("value", "met"), [(0.49, False), (0.5, True), (0.51, True)])
def test_a_bound_is_met_or_not(value: float, met: bool) -> None:
    assert Figure("ratio", value, "", at_least=0.5).met is met


def test_a_figure_without_a_bound_is_neither() -> None:
    assert Figure("events", 3.0, "").met is None


def test_the_page_keeps_its_words_and_gets_new_figures() -> None:
    figures = [Figure("ratio", 0.49, "the floor", at_least=0.5)]
    once = page(PAGE, figures, "a machine")
    assert once.startswith("# Title\n")
    assert once.endswith("\n\ntail\n")
    assert "old" not in once
    assert "| `ratio` | 0.49 | ≥ 0.5 | ✗ | the floor |" in once
    assert page(once, figures, "a machine") == once
