"""Texts that machines, tags, images, errors and people carry are inert on every page, and secrets are masked."""

from __future__ import annotations

import csv
import io
import json
import re
from copy import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.application.notifications import EventRef
from onboarding.domain.limits.pause import Pause
from onboarding.domain.reconcile.change import Answer, Change
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId
from onboarding.web.exports import as_csv
from onboarding.web.pages import Request, answer
from onboarding.web.rendering import prose
from tests.flow.world import SUBSCRIPTION, World, vm_body, vm_id
from tests.web.page_world import BREAKER, LAPTOP, OTHER, full_world, get, page_world, put

EVIL = """"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}</title></textarea>`<b>`\u202e"""
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
MACHINES = [VmId(SUBSCRIPTION, "rg-(1).x", name) for name in ("vm1", "vm2", "vm3")]
PATHS = [
    "",
    "/machines",
    "/machines?attention=1",
    "/machines?outcome=Failed",
    "/machines?policy=retired",
    "/causes",
    "/limits",
    "/events",
    "/images",
    "/policies",
    "/migration",
]
_TEXTS = [
    name
    for name, kind in Row.__annotations__.items()
    if kind == "str" and name not in ("resource_id", "steps", "taken_up", "policy_hash", "undone_at")
]


class _Markup(HTMLParser):
    """The tags and the attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


async def evil_world() -> World:
    world = page_world()
    texts: dict[str, Any] = dict.fromkeys(_TEXTS, EVIL)
    outcomes = (Outcome.FAILED, Outcome.UNDETERMINED, Outcome.WAITING)
    for vm, outcome in zip(MACHINES, outcomes, strict=True):
        more: dict[str, Any] = {} if outcome.final else {"waiting_for": WaitingFor.VM_RUNNING}
        await put(world, vm, outcome, **{**texts, "extension": f"{EVIL}{outcome}"}, **more)
    change = Change(
        resource_id=str(MACHINES[0]),
        extension=EVIL,
        step="extension",
        subject=EVIL,
        policy=EVIL,
        reason=EVIL,
        sent_at=world.now,
        client_request_id=EVIL,
        by=EVIL,
        answer=Answer.REFUSED,
        error_code=EVIL,
        message=EVIL,
        event_id=EVIL,
        event_time=world.now,
        correlation_id=EVIL,
    )
    await world.ledger.append_changes([change])
    row = next(iter(world.ledger.rows.values())).row
    await world.ledger.append(row, EventRef(EVIL, world.now - timedelta(hours=1), EVIL))
    await world.pauses.write(Pause(reason=EVIL, since=world.now, policy=EVIL), None)
    await world.breakers.write(
        replace(BREAKER, subscription=SUBSCRIPTION, meaning=EVIL, message=EVIL, extension=EVIL), None
    )
    await world.sweep.run()
    body = {**vm_body(tags={"onboarding": EVIL, EVIL: EVIL}), "id": str(MACHINES[0]), "name": EVIL, "location": EVIL}
    world.arm.machines[MACHINES[0].key] = body
    return world


@pytest.fixture
async def plain() -> dict[str, set[str]]:
    """The tags and attributes that pages of harmless texts have."""

    world = await full_world()
    tags: set[str] = set()
    names: set[str] = set()
    for path in [
        *PATHS,
        f"/machine?id={vm_id('broken')}",
        f"/machine?id={vm_id('broken')}&explain=1",
        "/retry?outcome=Failed",
    ]:
        markup = _Markup((await get(world, path)).body.decode())
        tags |= set(markup.tags)
        names |= {name for name, _ in markup.attributes}
    return {"tags": tags, "attributes": names}


@pytest.mark.parametrize("path", [*PATHS, "machine", "explain", "retry", "search", "none"])
async def test_texts_of_others_add_no_markup(path: str, plain: dict[str, set[str]]) -> None:
    world = await evil_world()
    special = {
        "machine": f"/machine?id={MACHINES[0]}",
        "explain": f"/machine?id={MACHINES[0]}&explain=1",
        "retry": f"/retry?id={MACHINES[0]}&policy={EVIL.replace('&', '%26').replace('#', '%23')}",
        "search": f"/machines?text={EVIL}&group={EVIL}&name={EVIL}&policy={EVIL}",
        "none": f"/{EVIL}",
    }
    page = (await get(world, special.get(path, path))).body.decode()
    markup = _Markup(page)
    assert set(markup.tags) <= plain["tags"] | {"code"}
    assert {name for name, _ in markup.attributes} <= plain["attributes"] | {"value", "hidden"}
    assert markup.tags.count("script") == 1
    assert "\u202e" not in page
    assert ">49<" not in page
    hrefs = [value for name, value in markup.attributes if name in ("href", "src", "action")]
    assert all(re.match(r"(/api/ui|/\.auth/|#|data:image/svg\+xml,%3Csvg)", each) for each in hrefs)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost//evil.example/ui",
        "http://localhost//evil.example/api/ui/nothing",
        "http://localhost/\\evil.example/ui",
        "http://localhost/%5Cevil.example/ui",
        "http://[/api/ui",
        "http://[/api/ui/machines?subscription=[",
        "http://evil.example:port/api/ui",
        "//evil.example/ui",
        "",
    ],
)
async def test_no_address_makes_links_to_another_host(url: str) -> None:
    world = page_world()
    sent = Request("GET", url, {"host": "app.example"})
    for environment in (LAPTOP, {"WEBSITE_INSTANCE_ID": "instance", "WEBSITE_AUTH_ENABLED": "true"}):
        page = (await answer(sent, lambda: world.application, environment, world.now)).body.decode()
        assert 'href="/api/ui' in page
        assert "evil.example" not in page


async def test_a_spreadsheet_computes_nothing_of_an_export() -> None:
    world = page_world()
    for number, text in enumerate(("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1")):
        await put(world, VmId(OTHER, "rg", f"vm{number}"), Outcome.FAILED, reason=text, advice=text)
    table = (await get(world, "/machines.csv")).body.decode()
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
    assert not [cell for cell in cells if cell.startswith(FORMULA)]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_no_cell_begins_a_formula(cells: list[str]) -> None:
    table = as_csv(["a", "b", "c", "d"], [dict(zip("abcd", cells, strict=False))], "x").body.decode()
    _, row = csv.reader(io.StringIO(table, newline=""))
    assert not [cell for cell in row if cell.startswith(FORMULA)]
    assert [cell.removeprefix("'") for cell in row[: len(cells)]] == [cell.removeprefix("'") for cell in cells]


@given(st.text())
def test_a_sentence_with_code_adds_nothing_but_code(text: str) -> None:
    assert set(_Markup(str(prose(text))).tags) <= {"code"}


async def test_json_of_a_view_stays_json() -> None:
    world = await evil_world()
    answer = await get(world, "/machines.json")
    assert answer.mimetype == "application/json"
    assert EVIL in json.dumps(json.loads(answer.body), ensure_ascii=False) or json.loads(answer.body)
