"""A list as CSV or JSON: exactly the rows that the page shows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onboarding.web.answers import Answer

# What makes a spreadsheet compute a cell; the wide forms do where it is set to Chinese, Japanese or Korean.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], name: str) -> Answer:
    """The rows as CSV. Machines' owners write some of the texts, so none of them can be a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column, "")) for column in columns])
    return Answer(text.getvalue().encode(), mimetype="text/csv", headers=_attached(f"{name}.csv"))


def as_json(value: Any, status: int = 200, name: str = "") -> Answer:
    """A value as JSON; with a name, for a file."""
    body = json.dumps(value, ensure_ascii=False, indent=1).encode()
    return Answer(body, status, "application/json", _attached(f"{name}.json") if name else {})


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
