"""Charts of docs/performance.md, as SVG without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import pygal
from pygal.style import Style

_STYLE = Style(
    background="white",
    plot_background="white",
    font_family="sans-serif",
    title_font_size=16,
    colors=("#0f6cbd", "#8a8886", "#c19c00", "#d13438"),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a common axis."""

    name: str
    """The file's name, without suffix."""
    title: str
    x: str
    """The title of the horizontal axis."""
    y: str
    """The title of the vertical axis."""
    lines: Mapping[str, Sequence[tuple[float, float]]]
    """The points (x, y) of each line, by its label."""
    dots: bool = True
    """Whether each point is drawn."""

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.svg").write_bytes(self.svg())

    def svg(self) -> bytes:
        """The same points make the same bytes."""
        drawn = pygal.XY(
            config=pygal.Config(js=[], no_prefix=True, disable_xml_declaration=True),
            title=self.title,
            x_title=self.x,
            y_title=self.y,
            style=_STYLE,
            width=720,
            height=360,
            show_dots=self.dots,
            legend_at_bottom=True,
            include_x_axis=True,
        )
        for label, points in self.lines.items():
            drawn.add(label, list(points))
        drawn.add_xml_filter(_without_scripts)
        rendered: str = drawn.render(is_unicode=True)
        return rendered.encode()


def _without_scripts(drawing: Element) -> Element:
    """Remove scripts: a page that shows a picture does not run them."""
    for parent in list(drawing.iter()):
        for script in [child for child in parent if str(child.tag).endswith("script")]:
            parent.remove(script)
    return drawing
