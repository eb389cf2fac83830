"""The templates, and the files that go with them. Only HTTP functions load this module: no event needs a template."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape
from msgspec import Struct

from onboarding.domain.json_access import printable
from onboarding.domain.reconcile.row import Outcome
from onboarding.loading.page_files import page_static, page_template
from onboarding.web import charts

_CODE = re.compile(r"`([^`\n]{1,200})`")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SHAPES = {
    Outcome.INSTALLED: "✓",
    Outcome.ALREADY_INSTALLED: "✓",
    Outcome.REMOVED: "✓",
    Outcome.REQUESTED: "➤",
    Outcome.WAITING: "◷",
    Outcome.FAILED: "✕",
    Outcome.UNDETERMINED: "?",
    Outcome.UNSUPPORTED: "⊘",
    Outcome.OUT_OF_SCOPE: "–",
    Outcome.AUDITED: "◌",
    Outcome.GONE: "·",
}
_TONES = {
    Outcome.FAILED: "bad",
    Outcome.UNDETERMINED: "bad",
    Outcome.WAITING: "open",
    Outcome.REQUESTED: "open",
    Outcome.INSTALLED: "good",
    Outcome.ALREADY_INSTALLED: "good",
    Outcome.REMOVED: "good",
}
_STATIC: Mapping[str, str] = {"page.css": "text/css", "htmx.min.js": "text/javascript"}


class StaticFile(Struct, frozen=True):
    """A file that a page names: its name has a part of its digest, so a browser may keep it for ever."""

    name: str
    mimetype: str
    content: bytes
    compressed: bytes
    etag: str


@cache
def static_files() -> Mapping[str, StaticFile]:
    """The files by the names under which pages ask for them. There are no others: no part of an address becomes a
    path."""
    found = {}
    for name, mimetype in _STATIC.items():
        content = page_static(name)
        digest = sha256(content).hexdigest()[:12]
        stem, _, ending = name.partition(".")
        served = f"{stem}.{digest}.{ending}"
        found[served] = StaticFile(served, mimetype, content, gzip.compress(content, mtime=0), f'"{digest}"')
    return found


def render(template: str, context: Mapping[str, Any]) -> bytes:
    """The page of a template."""
    return _environment().get_template(template).render(context).encode()


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(page_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_shown,
    )
    made.filters |= {
        "ago": ago,
        "moment": moment,
        "bar": lambda percent: Markup(charts.bar(percent)),
        "percent": percent_of,
        "number": lambda value: "–" if value is None else f"{value:,}",
        "short": short,
        "seconds": seconds_in_words,
        "shape": lambda outcome: _SHAPES.get(outcome, "•"),
        "tone": lambda outcome: _TONES.get(outcome, "calm"),
        "prose": prose,
        "query": lambda values: urlencode({k: v for k, v in values.items() if v}, doseq=True),
    }
    made.globals |= {"trend": _trend, "static": {_plain(each.name): each.name for each in static_files().values()}}
    return made


def _plain(served: str) -> str:
    stem, _, rest = served.partition(".")
    return f"{stem}.{rest.partition('.')[2]}"


def _shown(value: Any) -> Any:
    """Every text of a page: characters that could turn others around, or hide, are made visible."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, lines=True)
    return value


def _trend(points: Sequence[Mapping[str, Any]]) -> Markup:
    known = [(date.fromisoformat(p["day"]), p["percent"]) for p in points if p["percent"] is not None]
    if len(known) < 2:
        return Markup("")
    title = f"Share onboarded by day: {known[0][1]:.1f} % on {known[0][0]}, {known[-1][1]:.1f} % on {known[-1][0]}"
    return Markup(charts.trend(known, title))  # it is made of numbers and dates


def prose(text: str) -> Markup:
    """A sentence of ours, or of a machine: what stands in backticks is code. Everything is escaped first."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(printable(text, lines=True)))))


def percent_of(value: float | None) -> str:
    """A percentage that never rounds up to all: 99.96 is 99.9."""
    if value is None:
        return "–"
    return f"{int(value * 10) / 10:.1f} %" if value < 100 else "100 %"


def short(subscription: str) -> str:
    """The beginning of a subscription's id."""
    return f"{subscription[:8]}…{subscription[-4:]}" if len(subscription) > 14 else subscription


def moment(text: str) -> str:
    """A time of a view for people: UTC, in minutes."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M}" if text else "–"


def ago(text: str, now: datetime) -> str:
    """How long ago a time of a view is, or how far ahead."""
    if not text:
        return "never"
    seconds = round((now - datetime.fromisoformat(text)).total_seconds())
    span = seconds_in_words(abs(seconds))
    return f"in {span}" if seconds < 0 else f"{span} ago"


def seconds_in_words(seconds: float | None) -> str:
    """A span in its largest unit, or two."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 2 * _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        minutes = whole % _HOUR // _MINUTE
        return f"{whole // _HOUR} h {minutes} min" if minutes else f"{whole // _HOUR} h"
    return f"{whole // _DAY} days"
