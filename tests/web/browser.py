"""The system's Chromium, driven by Playwright, which downloads nothing. Without it, tests are skipped by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome-stable"))), None)
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or not AXE.is_file(),
    reason="needs Chromium (Debian: apt-get install chromium) and node_modules (make setup)",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Any, *, width: int = 1280, scheme: str = "light", script: bool = True) -> Iterator[Any]:
    """A page of that width. At its end, the content policy may have refused nothing, and no script have failed."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
    )
    said: list[str] = []
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"{request.url} failed"))
    try:
        yield page
    finally:
        context.close()
    assert said == []


def violations(page: Any) -> list[str]:
    """What axe finds on the page that is shown: rules of WCAG and of good practice."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(
        "axe.run().then(run => run.violations.map(each => `${each.id}: ${each.nodes[0].html.slice(0, 200)}`))"
    )
    return found


def squeezed(page: Any) -> list[str]:
    """Texts that stand in a column too narrow to be read."""
    found: list[str] = page.evaluate(
        """[...document.querySelectorAll('main p, main h2, main td, main dd, main li')]
        .filter(e => e.offsetParent && !e.closest('.hidden') && e.clientWidth > 0 && e.clientWidth < 60)
        .filter(e => e.innerText.trim().length > 12)
        .map(e => e.innerText)"""
    )
    return found


def wider_than_the_window(page: Any) -> int:
    """By how many pixels one has to scroll sideways."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return wide
