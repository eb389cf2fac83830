"""How the bench reports what it measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.__main__ import SECTIONS
from bench.charts import Chart
from bench.report import Figure, Grid, RunInfo, Section, merged, page, verdict, write

PAGE = "# Title\n\n<!-- begin: line -->\nold\n<!-- end: line -->\n\ntail\n<!-- begin: burst -->\n<!-- end: burst -->\n"
ROOT = Path(__file__).parents[3]
OCCASION = RunInfo("2026-01-02", "a machine", "full")
RATIO = Figure("line.ratio", 0.49, "the floor", at_least=0.5)


@pytest.mark.parametrize(("value", "met"), [(0.49, False), (0.5, True), (0.51, True)])
def test_a_lower_bound_is_met_or_not(value: float, met: bool) -> None:
    assert Figure("line.ratio", value, "", at_least=0.5).met is met


@pytest.mark.parametrize(("value", "met"), [(1.99, False), (2, True), (2.01, False)])
def test_two_bounds_are_one_number(value: float, met: bool) -> None:
    figure = Figure("line.calls", value, "", at_least=2, at_most=2)
    assert figure.met is met
    assert figure.bound == "= 2"


def test_a_figure_without_a_bound_is_neither() -> None:
    assert Figure("line.events", 3.0, "").met is None


def test_the_verdict_names_what_is_missed() -> None:
    assert verdict([RATIO, Figure("line.calls", 2, "", at_most=2)]) == (
        "1 of 2 bounds are not met: line.ratio 0.49 (≥ 0.5)"
    )


def test_the_page_keeps_its_words_and_gets_new_figures() -> None:
    grid = Grid("How many", ("at once", "events/s"), [("64", "170")])
    section = Section("line", [RATIO], [grid])
    run_event = page(PAGE, section, OCCASION)
    assert run_event.startswith("# Title\n")
    assert "\n\ntail\n<!-- begin: burst -->" in run_event
    assert "old" not in run_event
    assert "Measured on 2026-01-02, a machine, full run." in run_event
    assert "| `line.ratio` | 0.49 | ≥ 0.5 | ✗ | the floor |" in run_event
    assert "| 64 | 170 |" in run_event
    assert page(run_event, section, OCCASION) == run_event


def test_a_page_without_a_place_for_a_section_is_an_error() -> None:
    with pytest.raises(ValueError, match="begin: sweep"):
        page(PAGE, Section("sweep", []), OCCASION)


def test_a_section_replaces_its_own_results_alone() -> None:
    stored = {"measured": {"burst": "before"}, "burst.lost": 0, "line.gone": 1, "line.ratio": 0.1}
    assert merged(stored, Section("line", [RATIO]), OCCASION) == {
        "measured": {"burst": "before", "line": "2026-01-02, a machine, full run"},
        "burst.lost": 0,
        "line.ratio": 0.49,
    }


def test_results_page_and_charts_are_written(tmp_path: Path) -> None:
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "performance.md").write_text(PAGE)
    chart = Chart("line-rate", "Events a second", "at once", "events/s", {"ours": [(1, 2), (2, 3)]})
    write(Section("line", [RATIO], charts=[chart]), OCCASION, tmp_path)
    written = (tmp_path / "docs" / "performance.md").read_text()
    assert "![Events a second](performance/line-rate.svg)" in written
    svg = (tmp_path / "docs" / "performance" / "line-rate.svg").read_bytes()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert b"<script" not in svg
    assert chart.svg() == svg


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_has_its_place_in_the_docs(name: str) -> None:
    written = page((ROOT / "docs" / "performance.md").read_text(), Section(name, [Figure("a.figure", 1, "")]), OCCASION)
    assert "`a.figure`" in written
