"""Every relative link of a page leads to a file that exists, and every anchor to a heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "samples").rglob("*.md"), ROOT / "simulator/README.md"]
)
_CODE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+)$", re.MULTILINE)


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = [heading["title"] for heading in _HEADING.finditer(_CODE.sub("", page.read_text("utf-8")))]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in _LINK.finditer(_CODE.sub("", page.read_text("utf-8"))):
        path, _, anchor = link["target"].partition("#")
        if ":" in path:  # a URL
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link["target"])
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


def test_a_missing_file_or_heading_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# The `first` part, and more\n", "utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#the-first-part-and-more) [b](other.md#second) [c](none.md) [d](#here) [e](https://example.org/#x)\n",
        "utf-8",
    )
    assert broken_links(page) == ["other.md#second", "none.md", "#here"]
