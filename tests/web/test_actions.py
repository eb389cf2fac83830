"""What a person does on the page: who may, what is sent, and where it is written down by whom."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from onboarding.application.change_queries import ChangeQuery, matching_changes
from onboarding.domain.limits.pause import Pause
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.web import actions
from onboarding.web.access import OPERATOR, READER
from onboarding.web.answers import Answer
from tests.flow.world import XENIAL, World, vm_id
from tests.web.page_world import OTHER, PERSON, full_world, get, headers_of, page_world, post
from tests.web.test_access import AZURE, principal
from tests.web.test_views import text_of

BROKEN = vm_id("broken")
ACTIONS: dict[str, dict[str, Any]] = {
    "retry": {"id": str(BROKEN)},
    "check": {"id": str(BROKEN)},
    "pause": {"reason": "why", "lasts": "1 hour"},
    "resume": {"policy": "new-agent"},
    "poison": {},
}


@pytest.fixture
async def world() -> World:
    return await full_world()


def changed(world: World) -> tuple[Any, ...]:
    """What an action may change."""
    sent = [call for call in world.arm.calls if call != "GET"]
    return len(sent), len(world.ledger.log), world.ledger.writes, dict(world.pauses.stored), len(world.poison.messages)


@pytest.mark.parametrize("name", ACTIONS)
async def test_a_reader_and_another_site_change_nothing(world: World, name: str) -> None:
    before = changed(world)
    signed_in = {**headers_of(), **principal(READER)}
    answers = [
        await post(world, f"/{name}", ACTIONS[name], AZURE, signed_in),
        await post(world, f"/{name}", ACTIONS[name], AZURE, {**headers_of(), "host": "app.example"}),
        await post(
            world, f"/{name}", ACTIONS[name], {"WEBSITE_INSTANCE_ID": "i"}, {**headers_of(), **principal(OPERATOR)}
        ),
        await post(world, f"/{name}", ACTIONS[name], headers=headers_of(**{"sec-fetch-site": "cross-site"})),
        await post(world, f"/{name}", ACTIONS[name], headers={"host": "localhost", "origin": "https://evil.example"}),
        await post(world, f"/{name}", ACTIONS[name], headers=headers_of(**{"content-type": "text/plain"})),
    ]
    assert [answer.status for answer in answers] == [403, 401, 503, 403, 403, 400]
    assert OPERATOR in text_of(answers[0].body)
    assert changed(world) == before
    assert (await get(world, f"/{name}")).status in (200, 404)  # the preview of a retry, and no other, can be looked at
    assert changed(world) == before


async def test_an_operator_in_azure_is_written_down_with_the_object_id(world: World) -> None:
    other = "ffffffff-0000-4000-8000-00000000000f"
    claims = [{"typ": "oid", "val": other}, {"typ": "roles", "val": OPERATOR}]
    signed_in = {**headers_of(), **principal(claims=claims)}
    answer = await post(world, "/retry", {"id": str(BROKEN)}, AZURE, signed_in)
    assert answer.status == 200
    row = world.row(BROKEN, "oms-agent-linux")
    assert (row.outcome, row.by) == (Outcome.REQUESTED, other)
    found = [change async for change in matching_changes(world.ledger, ChangeQuery(since=world.now))]
    assert other in {change.by for change in found}


async def test_a_retry_shows_first_what_it_would_send_and_sends_nothing(world: World) -> None:
    before = changed(world)
    shown = text_of((await get(world, f"/retry?id={BROKEN}")).body)
    assert "oms-agent-linux install an operator requests it again" in shown
    assert "13 of 100 installs this hour are used" in shown
    assert "nothing is sent yet" in shown
    assert changed(world) == before


async def test_a_retry_sends_what_the_preview_named_and_is_in_the_history(world: World) -> None:
    page = (await get(world, "/retry?outcome=Failed&cause=package-install-failed")).body.decode()
    ids = re.findall(r'name="id" value="([^"]+)"', page)
    assert ids == [str(BROKEN)]
    answer = await post(world, "/retry", {"id": ids})
    assert "oms-agent-linux ➤ Requested" in text_of(answer.body)
    assert world.row(BROKEN, "oms-agent-linux").by == PERSON
    lines = [line for line in world.ledger.log.values() if line.vm_name == "broken" and line.by == PERSON]
    assert [line.outcome for line in lines] == [Outcome.REQUESTED]
    story = text_of((await get(world, f"/machine?id={BROKEN}")).body)
    assert f"by {PERSON}" in story


async def test_what_a_retry_came_to_is_shown_in_the_table_of_its_preview(world: World) -> None:
    preview = (await get(world, f"/retry?id={BROKEN}")).body.decode()
    done = (await post(world, "/retry", {"id": str(BROKEN)})).body.decode()
    for page in (preview, done):
        first = page.partition("<tbody>")[2].partition("</th>")[0]
        assert text_of(first.encode()) == "broken app-rg"
        assert re.findall(r'<th scope="col">(Machine|Extension)</th>', page) == ["Machine", "Extension"]


async def test_a_retry_over_the_rollout_limit_waits() -> None:
    world = page_world()
    world = World(policies=[{**world.policies[0], "brake": {"maxInstallsPerHour": 1}}], person=PERSON)
    vms = [world.add(f"web{number}", image=XENIAL) for number in range(3)]
    answer = await post(world, "/retry", {"id": [str(vm) for vm in vms]})
    assert answer.status == 200
    waits = [world.row(vm, "oms-agent-linux").waiting_for for vm in vms]
    assert sorted(map(str, waits)) == sorted(
        map(str, [WaitingFor.INSTALL, WaitingFor.ROLLOUT_LIMIT, WaitingFor.ROLLOUT_LIMIT])
    )


async def test_a_retry_during_a_pause_says_so_and_sends_nothing(world: World) -> None:
    await world.pauses.write(Pause(reason="freeze", since=world.now, by=PERSON), None)
    before = changed(world)
    assert "Nothing would be sent: everything is paused" in text_of((await get(world, f"/retry?id={BROKEN}")).body)
    assert "everything is paused" in text_of((await post(world, "/retry", {"id": str(BROKEN)})).body)
    assert changed(world) == before


async def test_a_selection_is_retried_in_parts_that_leave_nothing_out() -> None:
    world = page_world()
    count = 2 * actions.MOST_AT_ONCE + 10
    for number in range(count):
        await world.created(
            world.add(f"odd{number:03}", image={"publisher": "c", "offer": "o", "sku": "s", "version": "1"})
        )
    path, parts = "/retry?outcome=Undetermined&policy=linux-monitoring", list[list[str]]()
    while path:
        page = await get(world, path)
        parts.append(re.findall(r'name="id" value="([^"]+)"', page.body.decode()))
        following = re.findall(r'name="following" value="([^"]+)"', page.body.decode())
        assert ("Others follow" in text_of(page.body)) == bool(following)
        fields = {"id": parts[-1], "following": unescape(following[0]) if following else ""}
        done = (await post(world, "/retry", fields)).body.decode()
        links = re.findall(r'href="/api/ui(/retry[^"]+)"', done)
        path = unescape(links[0]) if links else ""
        assert bool(path) == bool(following)
    ids = parts[0]
    assert len(ids) == actions.MOST_AT_ONCE
    assert sum(map(len, parts)) == len({each for part in parts for each in part}) == count
    too_many = await post(world, "/retry", {"id": [*ids, str(vm_id("one-more"))]})
    assert too_many.status == 400


@pytest.mark.parametrize("path", ["/retry?outcome=Installed", "/retry?outcome=Waiting", "/retry?id=nobody"])
async def test_what_needs_no_person_is_not_retried(world: World, path: str) -> None:
    assert (await get(world, path)).status in (400, 404)


async def test_a_check_reads_the_machine_and_the_history_says_by_whom(world: World) -> None:
    vm = vm_id("asleep0")
    world.arm.calls.clear()
    answer = await post(world, "/check", {"id": str(vm)})
    assert (answer.status, answer.headers["Location"]) == (303, f"/api/ui/machine?id={str(vm).replace('/', '/')}")
    assert world.arm.calls == ["GET"]
    lines = [line for line in world.ledger.log.values() if line.vm_name == "asleep0" and line.by == PERSON]
    assert {line.outcome for line in lines} == {Outcome.WAITING, Outcome.AUDITED}
    assert "a person: check now" in text_of((await get(world, f"/machine?id={vm}")).body)


async def test_a_check_that_arm_refuses_says_what_arm_said(world: World) -> None:
    from onboarding.domain.failures.evidence import Evidence

    world.arm.read_errors = [Evidence(http_status=403, code="AuthorizationFailed", message="no right")] * 3
    answer = await post(world, "/check", {"id": str(vm_id("web00"))})
    assert answer.status == 502
    assert "AuthorizationFailed" in text_of(answer.body)


async def test_a_pause_begins_and_ends_with_who_did_it(world: World) -> None:
    fields = {"subscription": OTHER.upper(), "policy": "linux-monitoring", "reason": "fair <b>", "lasts": "4 hours"}
    answer = await post(world, "/pause", fields)
    assert (answer.status, answer.headers["Location"]) == (303, "/api/ui/limits")
    pause = world.pauses.stored[OTHER, "linux-monitoring"].pause
    assert (pause.by, pause.until, pause.reason) == (PERSON, world.now + timedelta(hours=4), "fair <b>")
    ended = await post(world, "/resume", {"subscription": OTHER, "policy": "linux-monitoring"})
    assert "goes on" in text_of(ended.body)
    assert set(world.pauses.stored) == {("", "new-agent")}
    again = await post(world, "/resume", {"subscription": OTHER, "policy": "linux-monitoring"})
    assert "not paused any more" in text_of(again.body)


async def test_what_waited_for_a_pause_is_made_due_by_its_end(world: World) -> None:
    await post(world, "/pause", {"reason": "freeze", "lasts": "until it is resumed"})
    vm = world.add("late", image=XENIAL)
    world.now += timedelta(seconds=40)
    await world.created(vm)
    assert world.row(vm, "oms-agent-linux").waiting_for is WaitingFor.PAUSED
    answer = await post(world, "/resume", {})
    assert "1 machines are reconciled" in text_of(answer.body)
    assert [request.vm for request in world.schedule_queue.reconcile_requests] == [vm]


@pytest.mark.parametrize(
    "fields",
    [
        {"lasts": "1 hour"},
        {"reason": "x", "lasts": "forever"},
        {"reason": "x"},
        {"reason": "x", "lasts": "1 hour", "policy": "none"},
        {"reason": "x", "lasts": "1 hour", "subscription": "all"},
    ],
)
async def test_a_pause_that_is_not_whole_is_refused(world: World, fields: dict[str, str]) -> None:
    assert (await post(world, "/pause", fields)).status == 400
    assert len(world.pauses.stored) == 1


async def test_poison_messages_go_back_on_their_queue(world: World) -> None:
    world.poison.messages.append("no message")
    said = text_of((await post(world, "/poison", {})).body)
    assert "1 messages are on their queue again. 1 stay" in said
    assert world.poison.messages == ["no message"]


async def test_what_has_no_button_is_no_action(world: World) -> None:
    answers: list[Answer] = [await post(world, path, {}) for path in ("", "/machines", "/delete")]
    assert [answer.status for answer in answers] == [404, 404, 404]
