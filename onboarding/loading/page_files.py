"""The files of the page: its templates, and what a browser loads with them. Each is read once, at its first use."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

_PACKAGE = "onboarding.web"


@cache
def page_template(name: str) -> str | None:
    """The text of a template; None: no template has that name. Names come from the code alone."""
    file = files(_PACKAGE) / "templates" / name
    return file.read_text(encoding="utf-8") if file.is_file() else None


@cache
def page_static(name: str) -> bytes:
    """A file for the browser, by the name that the code gives it."""
    return (files(_PACKAGE) / "static" / name).read_bytes()
