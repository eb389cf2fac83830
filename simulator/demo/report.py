"""The report of the demo: the table, the figures and the checks, for people or as one JSON object."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import zip_longest
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from simulator.demo.ledger import Row
from simulator.demo.progress import STYLES
from simulator.demo.verdict import Check, Figures

WIDTH = 120
_WIDEST = 200  # columns; a reason is hard to read in longer lines
_CAPTION = "Read from the storage table. PUT and end: seconds after the VM's creation."
_PROBLEMS = 12
_IMAGE = 21
_REASON = 31
_WIDE = {"VM": 14, "Image": _IMAGE, "OS": 11, "Outcome": 16, "Reason": _REASON}
_NARROW = {"VM": 14, "Outcome": 16}  # the reason has what they and the times leave
_TIMES = 22  # with all borders of the narrow table


@dataclass(frozen=True, slots=True)
class Report:
    """The results of the demo; `seconds` is the time that it took."""

    rows: Sequence[Row]
    figures: Figures
    checks: Sequence[Check]
    seconds: float
    scale: float
    operations: Sequence[str] = ()
    """The operations of role definitions that the product needed."""

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_text(self, console: Console) -> str:
        """The report as this console shows it."""
        with console.capture() as capture:
            self._print(console)
        return capture.get()

    def as_picture(self, title: str) -> str:
        """The report in a terminal of 120 columns, as SVG that loads nothing."""
        console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
        self._print(console)
        picture = console.export_svg(title=title, unique_id="demo").replace("Fira Code", "ui-monospace")
        own = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
        return "\n".join(map(str.rstrip, own.splitlines())) + "\n"

    def _print(self, console: Console) -> None:
        console.print(Group(_table(self.rows, console.width), Text(_summary(self)), *map(_verdict, self.checks)))

    def as_json(self) -> str:
        figures = self.figures
        value: dict[str, Any] = {
            "ok": self.ok,
            "rows": [
                {**row.as_json(), "SecondsToPut": row.seconds_to_put, "SecondsToEnd": row.seconds_to_end}
                for row in self.rows
            ],
            "counts": dict(figures.counts),
            "arm_calls": figures.calls,
            "arm_calls_per_onboarded_vm": figures.calls_per_onboarded,
            "arm_calls_per_vm_installed_at_first_sight": figures.calls_at_first_sight,
            "duplicates_delivered": figures.duplicates,
            "outcome_events": figures.outcome_events,
            "azure_monitor_agents": figures.agents,
            "azure_monitor_agents_without_data": dict(figures.silent),
            "median_seconds_to_put": figures.median_to_put,
            "checks": [{"name": check.name, "ok": check.ok, "problems": [*check.problems]} for check in self.checks],
            "operations": list(self.operations),
            "seconds": round(self.seconds, 1),
            "simulated": {"parts": ["ARM", "Event Grid", "functions host"], "scale": self.scale},
        }
        return json.dumps(value, ensure_ascii=False)


def sort_rows(rows: Mapping[str, Row]) -> list[Row]:
    """By outcome, in the order of STYLES, then by name."""
    order = {outcome: index for index, outcome in enumerate(STYLES)}
    return sorted(rows.values(), key=lambda row: (order.get(row.outcome, len(order)), row.text("VmName")))


def _table(rows: Sequence[Row], width: int) -> Table:
    """In a narrow terminal without image and OS; every reason is whole. Where a VM has several rows, each names its
    policy."""
    width = min(width, _WIDEST)
    table = Table(box=box.ROUNDED, width=width, header_style="bold", caption=_CAPTION)
    reason = _REASON + width - WIDTH if width >= WIDTH else max(10, width - _TIMES - sum(_NARROW.values()))
    columns = {**(_WIDE if width >= WIDTH else _NARROW), "Reason": reason}
    for name, width in columns.items():
        table.add_column(name, width=width, no_wrap=name == "Image")
    table.add_column("PUT, end", justify="right", no_wrap=True)
    several = len({row.vm for row in rows}) < len(rows)
    for row, following in zip_longest(rows, rows[1:]):
        outcome = Text(row.outcome, STYLES.get(row.outcome, ""))
        times = f"{_number(row.seconds_to_put)} {_number(row.seconds_to_end):>4}"
        last = following is None or following.outcome != row.outcome
        cells = {
            "VM": row.text("VmName"),
            "Image": _image(row),
            "OS": row.system,
            "Outcome": outcome,
            "Reason": _reason(row, reason, row.text("Policy") if several else ""),
        }
        table.add_row(*(cells[name] for name in columns), times, end_section=last)
    return table


def _image(row: Row) -> str:
    """On two lines if needed, the SKU on the second; a longer line loses its publisher, then its end."""
    name, _, sku = row.image.rpartition(":")
    if len(row.image) <= _IMAGE or not name:
        return row.image
    return f"{name if len(name) <= _IMAGE else name.rpartition(':')[2]}\n{sku}"


def _reason(row: Row, width: int, policy: str) -> str:
    """The policy, the handler's exit code and the reason, without the image's name, which has its own column."""
    code = row.text("ErrorCode")
    text = f"{code}: {row.text('Reason')}" if code.isdecimal() else row.text("Reason")
    if added := [step["step"] for step in row.steps if step.get("ours") and step["step"] != "extension"]:
        text = f"added {' and '.join(added)}; {text}"
    text = f"{policy}: {text}" if policy else text
    text = text.replace(f"image {row.image}", "image").replace(row.text("ImageId") or "\0", row.image)
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _summary(report: Report) -> str:
    figures = report.figures
    counts = ", ".join(f"{figures.counts[outcome]} {outcome}" for outcome in STYLES if figures.counts.get(outcome))
    machines = len({row.vm for row in report.rows})
    calls = ""
    if figures.calls_per_onboarded is not None:
        calls += f": {_number(figures.calls_per_onboarded)} per onboarded VM"
    if figures.calls_at_first_sight is not None:
        calls += f", {_number(figures.calls_at_first_sight)} per VM installed at first sight"
    to_put = ""
    if figures.median_to_put is not None:
        to_put = f"{_number(figures.median_to_put)} s from creation to PUT at first sight (median); "
    return (
        f"{machines} VMs{f', {len(report.rows)} rows' if machines < len(report.rows) else ''}: {counts or 'no row'}.\n"
        f"{figures.calls} ARM calls{calls}.\n"
        f"{to_put}{figures.duplicates} events delivered twice; {figures.outcome_events} outcome events arrived.\n"
        f"{report.seconds:.1f} s in all. ARM, Event Grid and the functions host are simulated, "
        f"{report.scale:.0f} seconds of the cloud in one of ours.\n"
        f"{_agents(figures)}"
        "Storage is Azurite, the worker library is the real one, and the product's code runs unchanged.\n"
    )


def _agents(figures: Figures) -> str:
    if not figures.silent:
        return ""
    reasons = "; ".join(f"{count}: {reason}" for reason, count in figures.silent.items())
    return (
        f"{sum(figures.silent.values())} of {figures.agents} installed Azure Monitor Agents send nothing ({reasons}).\n"
        "ARM reports success for these too: a known limit, which only the workspace can show.\n"
    )


def _verdict(check: Check) -> Text:
    line = Text.assemble(("✓ ", "green") if check.ok else ("✗ ", "bold red"), check.name)
    for problem in check.problems[:_PROBLEMS]:
        line.append(f"\n    {problem}", "red")
    if more := len(check.problems[_PROBLEMS:]):
        line.append(f"\n    and {more} more", "red")
    return line
