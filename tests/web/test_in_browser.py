"""The page in a real browser: with and without a script, light and dark, wide and narrow, by the keyboard alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onboarding.domain.reconcile.row import Outcome
from tests.flow.world import World, vm_id
from tests.web.browser import ROOT, chromium, needs_chromium, squeezed, violations, wider_than_the_window, window
from tests.web.page_world import PERSON, full_world, served

pytestmark = [needs_chromium, pytest.mark.timeout(180)]  # a browser starts, and goes through some twenty pages

BROKEN = vm_id("broken")
PATHS = {
    "overview": "",
    "machines": "/machines",
    "failed": "/machines?outcome=Failed",
    "waiting": "/machines?outcome=Waiting",
    "nothing found": "/machines?text=no+such+text",
    "machine": f"/machine?id={BROKEN}",
    "explained": f"/machine?id={BROKEN}&explain=1",
    "open": f"/machine?id={vm_id('asleep0')}",
    "causes": "/causes",
    "holds": "/limits",
    "events": "/events",
    "images": "/images",
    "policies": "/policies",
    "migration": "/migration",
    "retry": "/retry?outcome=Failed",
}
PICTURE = "PAGE_PICTURE"  # set to a file's name, a run writes the picture of the README there


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def site() -> Iterator[tuple[str, World]]:
    with served(full_world) as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_clean_and_accessible(browser: Any, site: tuple[str, World], width: int, scheme: str) -> None:
    with window(browser, width=width, scheme=scheme) as page:
        for name, path in PATHS.items():
            answer = page.goto(site[0] + path)
            assert answer.status == 200, name
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert violations(page) == [], name
            assert wider_than_the_window(page) <= 0, name
            assert squeezed(page) == [], name


@pytest.mark.parametrize("path", ["/machines?outcome=Broken", "/nothing", "/machine?id=nobody"])
def test_a_page_that_refuses_is_accessible_too(browser: Any, site: tuple[str, World], path: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(site[0] + path)
    assert violations(page) == []
    context.close()


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
@pytest.mark.parametrize("width", [1280, 390])
def test_from_the_overview_to_why_and_what_helps_and_the_fix(
    browser: Any, site: tuple[str, World], width: int, script: bool
) -> None:
    url, world = site
    with window(browser, width=width, script=script) as page:
        page.goto(url)
        page.get_by_role("link", name="1 rows, package-install-failed").click()  # 1: the machines of a cause
        page.get_by_role("link", name="broken", exact=True).click()  # 2: why, and what would help
        assert page.get_by_role("heading", name="broken").is_visible()
        state = page.locator("#state").inner_text()
        assert "One of the extension's packages could not be installed" in state
        assert "Read on the VM what the installer said" in state
        assert "owner of the machine" in state
        page.get_by_role("link", name="Retry: preview").click()  # 3: what would be sent
        assert "nothing is sent yet" in page.locator("main").inner_text()
        page.get_by_role("button", name="Retry this machine").click()
        assert "Requested" in page.locator("main").inner_text()
    row = world.row(BROKEN, "oms-agent-linux")
    assert (row.outcome, row.by) == (Outcome.REQUESTED, PERSON)


def test_the_keyboard_alone_is_enough(browser: Any, site: tuple[str, World]) -> None:
    url, world = site

    with window(browser) as page:

        def to(text: str) -> None:
            """Go forward by the Tab key until that is focused, and press Enter."""
            for _ in range(120):
                page.keyboard.press("Tab")
                focused = page.evaluate(
                    "(document.activeElement.ariaLabel || document.activeElement.innerText || '').trim()"
                )
                if focused == text:
                    shown = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                    assert shown != "none", f"{text}: the focus is not seen"
                    with page.expect_navigation():
                        page.keyboard.press("Enter")
                    return
            raise AssertionError(f"the Tab key does not reach {text!r}")

        page.goto(url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
        to("1 rows, package-install-failed")
        to("broken")
        to("Retry: preview")
        to("Retry this machine")
    assert world.row(BROKEN, "oms-agent-linux").by == PERSON


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
def test_the_filters_narrow_the_list_and_stand_in_the_address(
    browser: Any, site: tuple[str, World], script: bool
) -> None:
    with window(browser, script=script) as page:
        page.goto(f"{site[0]}/machines")
        page.get_by_label("Outcome", exact=True).select_option("Failed")
        page.get_by_label("Machine begins with").fill("bro")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**/machines?*outcome=Failed*")
        links = page.locator("#found tbody th a")
        assert links.all_inner_texts() == ["broken"]
        assert page.locator("#same code").inner_text() == "onboard status --begins bro --outcome Failed"
        page.reload()
        assert page.get_by_label("Outcome", exact=True).input_value() == "Failed"
        assert links.all_inner_texts() == ["broken"]


def test_the_machines_of_an_image_have_room_for_their_names(browser: Any, site: tuple[str, World]) -> None:
    with window(browser) as page:
        page.goto(f"{site[0]}/images")
        assert page.get_by_role("cell", name="odd0").bounding_box()["width"] > 200
        line = page.locator(".line").evaluate("each => getComputedStyle(each).whiteSpace + each.innerText")
        assert line.startswith("pre-wrap  - {match")  # with its indentation, as it is copied


def test_the_filters_show_what_the_address_says(browser: Any, site: tuple[str, World]) -> None:
    with window(browser) as page:
        page.goto(f"{site[0]}/machines?policy=retired&extension=oms-agent-linux&outcome=Failed")
        assert page.get_by_label("Policy", exact=True).input_value() == "retired"
        assert page.get_by_label("Extension", exact=True).input_value() == "oms-agent-linux"
        page.get_by_label("Policy", exact=True).select_option("")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**/machines?*extension=oms-agent-linux*")


def test_a_decision_is_explained_in_place(browser: Any, site: tuple[str, World]) -> None:
    with window(browser) as page:
        page.goto(f"{site[0]}/machine?id={BROKEN}")
        page.get_by_role("link", name="Read it and explain").click()
        page.get_by_text("a retry would").first.wait_for()
        assert "tags['onboarding'] notEquals 'skip'" in page.locator("#decision").inner_text()
        assert "explain" not in page.url


def test_a_pause_is_begun_and_ended_by_its_buttons(browser: Any, site: tuple[str, World]) -> None:
    url, world = site
    with window(browser) as page:
        page.goto(f"{url}/limits")
        page.get_by_text("Pause all requests that change something").click()
        page.get_by_label("Why").fill("fair")
        page.get_by_role("button", name="Pause", exact=True).click()
        page.get_by_text("everything", exact=False).first.wait_for()
        assert [stored.pause.reason for stored in world.pauses.stored.values()].count("fair") == 1
        page.get_by_role("button", name="Resume everything").click()
        assert "goes on" in page.locator("main").inner_text()
        assert ("", "") not in world.pauses.stored


def test_the_picture_of_the_readme_can_be_made(browser: Any, tmp_path: Path) -> None:
    """With `PAGE_PICTURE=docs/images/page.png` the picture is renewed."""
    target = ROOT / os.environ[PICTURE] if PICTURE in os.environ else tmp_path / "page.png"
    with served(partial(full_world, 200)) as (url, _), window(browser, width=1180) as page:
        page.set_viewport_size({"width": 1180, "height": 860})
        page.goto(url)
        page.screenshot(path=target)
    assert target.read_bytes().startswith(b"\x89PNG")
