"""What the views show, without a browser: numbers, lists, one machine's story, and how they are asked for."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from onboarding.application.ports import LetterCount
from onboarding.application.row_queries import RowQuery, matching_totals
from onboarding.domain.errors import StorageError
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from onboarding.web.answers import HEADERS
from onboarding.web.pages import twin
from onboarding.web.rendering import static_files
from onboarding.web.view_list import VIEWS, View
from onboarding.web.views.row_record import COLUMNS
from tests.flow.world import SUBSCRIPTION, World, vm_id
from tests.web.page_world import LAPTOP, OTHER, PERSON, full_world, get, page_world, put

ROOT = Path(__file__).parents[2]
PATHS = [
    "",
    "/machines",
    "/machines?outcome=Failed",
    "/machines?attention=1",
    "/machines?waitingFor=vm-running",
    "/machines?outcome=Installed&text=WEB",
    f"/machine?{urlencode({'id': str(vm_id('broken'))})}",
    f"/machine?{urlencode({'id': str(vm_id('broken')), 'explain': '1'})}",
    "/causes",
    "/limits",
    "/events",
    "/images",
    "/policies",
    "/migration",
    "/retry?outcome=Failed",
]


@pytest.fixture
async def world() -> World:
    return await full_world()


async def data_of(world: World, view: str, **query: Any) -> dict[str, Any]:
    answer = await twin(view, urlencode(query, doseq=True), lambda: world.application, world.now)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


def text_of(page: bytes) -> str:
    """What a person reads on a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.decode())).split())


@pytest.mark.parametrize("path", PATHS)
async def test_every_view_is_a_whole_page_under_the_content_policy(world: World, path: str) -> None:
    answer = await get(world, path)
    assert answer.status == 200
    body, headers = answer.sent("gzip, br")
    assert HEADERS.items() <= headers.items()
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert len(body) < 100_000
    page = answer.body.decode()
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert "style=" not in page
    assert not re.search(r"<script(?! src=)", page)
    assert not re.search(r"\son\w+=", page)


@pytest.mark.parametrize(
    "path", ["/nothing", "/machines.xml", "/causes.csv", "/../secrets", "/views/machines", "/machine"]
)
async def test_another_address_is_not_found(world: World, path: str) -> None:
    answer = await get(world, path)
    assert answer.status == 404
    assert "menu" in text_of(answer.body) or "machine" in text_of(answer.body)


@pytest.mark.parametrize(
    "query",
    [
        "outcome=Broken",
        "subscription=all",
        "at=nonsense",
        f"text={'x' * 2000}",
        "&".join(f"a{n}=1" for n in range(300)),
    ],
)
async def test_what_cannot_be_read_is_refused_with_the_fix(world: World, query: str) -> None:
    answer = await get(world, f"/machines?{query}")
    assert answer.status == 400
    assert "Traceback" not in answer.body.decode()


async def test_storage_that_does_not_answer_is_said(world: World) -> None:
    world.ledger.reachable = False
    assert (await get(world)).status == 503

    def unconnected() -> Any:
        raise StorageError("AzureWebJobsStorage is not set")

    answer = await twin("machines", "", unconnected, world.now)
    assert (answer.status, json.loads(answer.body)) == (503, {"error": "AzureWebJobsStorage is not set"})


async def test_the_overview_says_how_much_is_onboarded_and_what_helps(world: World) -> None:
    data = await data_of(world, "overview")
    assert data["total"]["onboarded"] == 17
    assert data["total"]["percent"] == pytest.approx(100 * 17 / data["total"]["inScope"])
    assert data["total"]["inScope"] == sum(data["outcomes"].values()) - data["outcomes"]["Gone"]
    assert [part["name"] for part in data["subscriptions"]] == [SUBSCRIPTION, OTHER]
    assert {part["name"] for part in data["policies"]} == {"linux-monitoring", "new-agent", "retire-oms"}
    assert len(data["trend"]) == 90
    assert data["waits"][0] == {"waitingFor": "vm-running", "rows": 3}
    assert data["secondsToAgent"]["azurePolicyBeginsAfter"] == 600
    shown = text_of((await get(world)).body)
    assert "onboarded ÷ in scope" in shown
    assert "change freeze for the fair" in shown
    assert "set allowExtensionOperations to true" in shown


async def test_the_page_says_the_same_numbers_as_the_command_and_the_daily_totals(world: World) -> None:
    """After one sweep at rest."""
    world.now += timedelta(hours=2)
    await world.sweep_and_reconcile()
    world.now += timedelta(hours=2)
    await world.sweep.run()
    page = (await data_of(world, "overview"))["outcomes"]
    command = await matching_totals(world.ledger, RowQuery(), world.now)
    exact = await matching_totals(world.ledger, RowQuery(), world.now, exact=True)
    daily: dict[str, int] = {}
    for subscription in (SUBSCRIPTION, OTHER):
        latest = [totals async for totals in world.ledger.totals(subscription, world.now.date())][-1]
        for kind, rows in (latest.counts or {}).items():
            daily[kind.outcome.value] = daily.get(kind.outcome.value, 0) + rows
    assert page == {outcome.value: rows for outcome, rows in command.outcomes.items()} == dict(sorted_like(page, daily))
    assert exact.outcomes == command.outcomes


def sorted_like(page: dict[str, int], other: dict[str, int]) -> list[tuple[str, int]]:
    assert set(page) == set(other)
    return [(name, other[name]) for name in page]


async def test_a_large_fleet_is_counted_by_its_totals_and_a_small_one_now(world: World) -> None:
    for number in range(400):
        await put(world, VmId(OTHER, "many-rg", f"vm{number:04}"), Outcome.INSTALLED)
    world.now += timedelta(hours=2)
    await world.sweep.run()
    await put(world, VmId(OTHER, "many-rg", "late"), Outcome.FAILED)
    by_name = {part["name"]: part for part in (await data_of(world, "overview"))["subscriptions"]}
    assert by_name[OTHER]["asOf"] == world.now.isoformat(timespec="seconds")
    assert by_name[SUBSCRIPTION]["asOf"] == ""


async def test_a_fleet_that_was_never_counted_says_that_its_numbers_are_too_small() -> None:
    world = page_world()
    for number in range(1100):
        await put(world, VmId(OTHER, "many-rg", f"vm{number:04}"), Outcome.INSTALLED)
    data = await data_of(world, "overview")
    assert data["total"]["complete"] is False
    assert "these numbers are too small" in text_of((await get(world)).body)


async def test_the_list_goes_on_where_it_ended_and_shows_each_row_once(world: World) -> None:
    for number in range(300):
        await put(world, VmId(OTHER, "many-rg", f"vm{number:04}"), Outcome.INSTALLED)
    seen: list[str] = []
    place = ""
    for _ in range(100):
        data = await data_of(world, "machines", group="many-rg", at=place)
        seen += [row["name"] for row in data["rows"]]
        place = data["following"]
        if not place:
            break
    assert seen == [f"vm{number:04}" for number in range(300)]


async def test_one_request_reads_a_bounded_part_of_the_table(world: World) -> None:
    for number in range(1500):
        await put(world, VmId(OTHER, "many-rg", f"vm{number:04}"), Outcome.INSTALLED)
    data = await data_of(world, "machines", text="no such text")
    assert data["rows"] == []
    assert data["read"] <= 1000
    assert data["following"]
    assert "the list goes on" in text_of((await get(world, "/machines?text=no+such+text")).body)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"outcome": "Failed"}, {"broken", *(f"sealed{n}" for n in range(5))}),
        ({"attention": "1", "group": "app-rg"}, {"broken", "odd0", "odd1"}),
        ({"outcome": ["Waiting", "Requested"]}, {"asleep0", "asleep1", "asleep2", "db0"}),
        ({"waitingFor": "only-after"}, {"db0"}),
        ({"cause": "package-install-failed", "outcome": "Failed"}, {"broken"}),
        ({"subscription": OTHER, "name": "DB"}, {f"db{n}" for n in range(5)}),
        ({"policy": "retire-oms"}, {"db0"}),
        ({"text": "debian 7"}, {"old-one"}),
        ({"outcome": "Failed", "text": "allowExtension", "group": "DATA-RG"}, {f"sealed{n}" for n in range(5)}),
    ],
)
async def test_the_filters_of_the_address_select(world: World, query: dict[str, Any], names: set[str]) -> None:
    data = await data_of(world, "machines", **query)
    assert {row["name"] for row in data["rows"]} == names
    if not set(query) & {"text", "name", "group"}:
        assert data["counted"] == len(data["rows"])


async def test_a_filter_by_a_policy_that_does_not_exist_says_so(world: World) -> None:
    shown = text_of((await get(world, "/machines?policy=new-agnet")).body)
    assert "unknown policy 'new-agnet'; known policies: new-agent, linux-monitoring, retire-oms" in shown
    assert "unknown policy" not in text_of((await get(world, "/machines?policy=new-agent&text=nobody")).body)


async def test_the_export_is_exactly_what_the_page_shows(world: World) -> None:
    query = "outcome=Failed&group=data-rg"
    page = (await get(world, f"/machines?{query}")).body.decode()
    table = await get(world, f"/machines.csv?{query}")
    rows = list(csv.DictReader(io.StringIO(table.body.decode())))
    assert tuple(rows[0]) == COLUMNS
    assert re.findall(r'<th scope="row"><a [^>]*>([^<]+)</a>', page) == [row["name"] for row in rows]
    assert json.loads((await get(world, f"/machines.json?{query}")).body) == [dict(row) for row in rows]
    assert table.headers["Content-Disposition"] == 'attachment; filename="machines.csv"'


async def test_a_machines_story_has_what_happened_in_the_order_of_time(world: World) -> None:
    data = await data_of(world, "machine", id=str(vm_id("broken")).upper())
    times = [line["time"] for line in data["story"]]
    assert times == sorted(times)
    kinds = [
        (line["kind"], line.get("outcome") or line["step"]) for line in data["story"] if line["extension"] != "new"
    ]
    assert ("request", "extension") in kinds
    request = next(line for line in data["story"] if line["kind"] == "request")
    assert (request["answer"], request["result"]) == ("accepted", "Failed")
    assert request["clientRequestId"]
    failed = data["rows"][0]
    assert (failed["outcome"], failed["errorCode"], failed["who"]) == ("Failed", "52", "owner of the machine")
    assert "dpkg: error processing package" in failed["message"]
    assert str(vm_id("broken")).lower() in data["exemption"].lower()
    assert data["decision"] is None


async def test_an_exit_code_is_called_by_its_name_and_another_code_stands_alone(world: World) -> None:
    found = (await get(world, "/machines?outcome=Failed")).body.decode()
    story = (await get(world, f"/machine?{urlencode({'id': str(vm_id('broken'))})}")).body.decode()
    assert "exit code <code>52</code>" in found
    assert "<span><code>extension-operations-disallowed</code>" in found
    assert "What Azure wrote (exit code <code>52</code>)" in story
    assert "<strong>Failed</strong>, exit code <code>52</code>" in story


async def test_the_decision_is_explained_with_its_conditions_at_one_read(world: World) -> None:
    world.arm.calls.clear()
    data = await data_of(world, "machine", id=str(vm_id("broken")), explain="1")
    assert world.arm.calls == ["GET"]
    would = {target["extension"]: target["would"] for target in data["decision"]["targets"]}
    assert would["oms-agent-linux"] == "install"
    (rule,) = [each["rule"] for each in data["decision"]["policies"] if each["policy"] == "linux-monitoring"]
    assert rule["text"] == "tags['onboarding'] notEquals 'skip'"
    assert rule["matched"] is True


async def test_a_machine_that_arm_does_not_show_is_explained_by_its_answer(world: World) -> None:
    world.arm.machines.pop(vm_id("broken").key)
    data = await data_of(world, "machine", id=str(vm_id("broken")), explain="1")
    assert data["decision"]["targets"] == []
    assert "ResourceNotFound" in data["decision"]["problem"]


@pytest.mark.parametrize(
    "filters",
    [
        {"outcome": ["Requested", "Waiting"], "policy": ["linux-monitoring"]},
        {"policy": ["not-there-any-more"], "cause": ["of-another-version"], "attention": ["1"]},
        {"extension": ["azure-monitor-agent-linux", "oms-agent-linux"]},
        {"subscription": [OTHER], "group": ["data-rg"], "name": ["sealed"], "text": ["owner"]},
    ],
)
async def test_the_form_sends_the_filters_of_its_address_again(world: World, filters: dict[str, list[str]]) -> None:
    form = _Form((await get(world, f"/machines?{urlencode(filters, doseq=True)}")).body.decode())
    assert {name: sorted(values) for name, values in form.sent().items()} == filters


class _Form(HTMLParser):
    """The form of the filters, and what a browser sends of it as it is."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._values: list[tuple[str, str]] = []
        self._select, self._option, self._multiple = "", False, False
        self._chosen: list[str] = []
        self.feed(page[page.index('<form class="filters') : page.index("</form>")])

    def sent(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in self._values:
            if value:
                found.setdefault(name, []).append(value)
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self._values.append((given["name"] or "", given.get("value") or ""))
        if tag == "select":
            self._select, self._multiple, self._chosen = given["name"] or "", "multiple" in given, []
        self._option = tag == "option" and "selected" in given

    def handle_data(self, data: str) -> None:
        if self._option:
            self._chosen.append(data)
            self._option = False

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":  # of a list that takes one, the last counts
            chosen = self._chosen if self._multiple else self._chosen[-1:]
            self._values += [(self._select, value) for value in chosen]


async def test_causes_are_grouped_the_largest_first(world: World) -> None:
    groups = (await data_of(world, "causes"))["groups"]
    assert [group["rows"] for group in groups] == sorted((group["rows"] for group in groups), reverse=True)
    first = groups[0]
    assert (first["cause"], first["rows"]) == ("extension-operations-disallowed", 5)
    assert first["subscriptions"] == [{"subscription": OTHER, "rows": 5}]
    assert first["advice"]
    assert first["who"] == "owner of the machine"


async def test_holds_are_what_stops_requests(world: World) -> None:
    data = await data_of(world, "limits")
    assert [pause["by"] for pause in data["pauses"]] == [PERSON]
    assert [breaker["cause"] for breaker in data["breakers"]] == ["not-authorized"]
    (limit,) = data["rollouts"]
    assert (limit["policy"], limit["installsPerHour"], limit["installsThisHour"]) == ("linux-monitoring", 100, 13)
    assert [(each["endsSoon"], each["category"]) for each in data["exemptions"]] == [
        (True, "Waiver"),
        (False, "Mitigated"),
    ]


async def test_events_tell_what_came_and_what_the_sweep_had_to_find(world: World) -> None:
    assert (await data_of(world, "events"))["poison"] == 1
    lost = world.add("lost")
    world.now += timedelta(hours=2)
    await world.sweep_and_reconcile()
    assert world.row(lost, "oms-agent-linux").event_id.startswith("sweep.missed")
    world.now += timedelta(hours=2)
    await world.sweep.run()
    data = await data_of(world, "events")
    ours = {each["subscription"]: each for each in data["subscriptions"]}[SUBSCRIPTION]
    assert ours["missed"] == 2  # a row for each extension
    assert ours["lastEvent"] < ours["lastCount"]
    assert (data["poison"], data["sweepUnderWayUntil"]) == (0, "")


async def test_dead_letters_are_counted_or_the_page_says_why_not(world: World) -> None:
    world.dead_letters = LetterCount(3, False, world.now - timedelta(hours=5))
    found = (await data_of(world, "events"))["deadLetters"]
    assert found == {"files": 3, "more": False, "newest": "2026-11-20T05:00:00+00:00", "problem": ""}
    assert "3 files of events that Event Grid could not deliver" in text_of((await get(world, "/events")).body)
    world.dead_letters = LetterCount(1000, True, world.now)
    shown = text_of((await get(world, "/events")).body)
    assert "1,000 or more files" in shown
    assert "the newest of those read 2026-11-20 10:00" in shown
    world.dead_letters = "there is no container"
    assert "Not counted: there is no container" in text_of((await get(world, "/events")).body)


async def test_unknown_images_have_the_line_that_would_name_them(world: World) -> None:
    (image,) = (await data_of(world, "images"))["images"]
    assert (image["image"], image["rows"]) == ("contoso:golden:image", 4)
    assert '{match: "contoso:golden:image", distribution: DISTRIBUTION, version: "VERSION"}' in image["line"]


async def test_policies_say_their_rule_in_words(world: World) -> None:
    policies = {each["name"]: each for each in (await data_of(world, "policies"))["policies"]}
    assert policies["linux-monitoring"]["rule"]["text"] == "tags['onboarding'] notEquals 'skip'"
    assert policies["linux-monitoring"]["counts"]["needsPerson"] == 8
    assert policies["new-agent"]["rule"] is None


async def test_a_migration_is_counted_by_machine(world: World) -> None:
    (found,) = (await data_of(world, "migration"))["migrations"]
    states = {each["state"]: each["machines"] for each in found["states"]}
    assert states == {"both": 1, "only-old": 13, "only-new": 4, "neither": 11}


async def test_without_a_removal_there_is_no_migration() -> None:
    assert "no migration to show" in text_of((await get(World(), "/migration")).body)


@pytest.mark.parametrize("name", ["overview", *filter(None, VIEWS)])
async def test_every_view_has_a_twin_for_programs(world: World, name: str) -> None:
    query = {"id": str(vm_id("broken"))} if name == "machine" else {}
    twin_of = await data_of(world, name, **query)
    page = await get(world, f"/{name}.json?{urlencode(query)}")
    shown = json.loads(page.body)
    assert shown == (twin_of["rows"] if name == "machines" else twin_of)


@pytest.mark.parametrize("view", [view for view in VIEWS.values() if view.in_menu], ids=lambda view: view.title)
async def test_menu_heading_and_title_and_docs_call_a_view_by_one_name(world: World, view: View) -> None:
    page = (await get(world, f"/{view.name}")).body.decode()
    (heading,) = re.findall(r"<h1>(.*?)</h1>", page)
    (title,) = re.findall(r"<title>(.*?) · VM onboarding</title>", page)
    (entry,) = re.findall(r'aria-current="page">(.*?)</a>', page)
    assert (heading, title, entry) == (view.title, view.title, view.title)
    assert f"\n| {view.title} |" in (ROOT / "docs" / "operating" / "page.md").read_text(encoding="utf-8")


async def test_a_twin_of_no_view_names_the_views(world: World) -> None:
    answer = await twin("secrets", "", lambda: world.application, world.now)
    assert answer.status == 404
    assert "machines" in json.loads(answer.body)["error"]


async def test_files_of_the_page_may_be_kept_for_ever_and_others_are_not_there(world: World) -> None:
    for name, file in static_files().items():
        answer = await get(world, f"/static/{name}", environment={})
        body, headers = answer.sent()
        assert (answer.status, body) == (200, file.content)
        assert "immutable" in headers["Cache-Control"]
        again = await get(world, f"/static/{name}", headers={"if-none-match": file.etag})
        assert again.status == 304
    for name in ("page.css", "htmx.LICENSE", "../templates/base.html", "%2e%2e/pages.py", ""):
        assert (await get(world, f"/static/{name}", environment=LAPTOP)).status == 404


@pytest.mark.parametrize(("copied", "source"), [("htmx.min.js", "dist/htmx.min.js"), ("htmx.LICENSE", "LICENSE")])
def test_htmx_is_the_one_of_the_package(copied: str, source: str) -> None:
    package = ROOT / "node_modules" / "htmx.org"
    if not package.is_dir():
        pytest.skip("needs node_modules (make setup)")
    ours = ROOT / "onboarding" / "web" / "static" / copied
    assert ours.read_bytes() == (package / source).read_bytes(), "run scripts/vendor"
