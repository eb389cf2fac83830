"""The footer of each view names the command that shows the same, with the filters of the address."""

from __future__ import annotations

import re
import shlex
from html import unescape
from urllib.parse import urlencode

import pytest

from onboarding.cli.machines.status import read_query
from onboarding.cli.main import build_parser
from onboarding.web.site import Query
from onboarding.web.view_list import VIEWS
from onboarding.web.views import machines
from tests.flow.world import SUBSCRIPTION, World, vm_id
from tests.web.page_world import full_world, get

BROKEN = str(vm_id("broken"))


@pytest.fixture
async def world() -> World:
    return await full_world()


async def footer(world: World, path: str) -> tuple[str, str]:
    """The command as it would be copied, and what stands behind it."""
    page = (await get(world, path)).body.decode()
    found = re.search(r'The same on the command line: <code class="copied">(.*?)</code>(.*)', page, re.DOTALL)
    assert found, page
    return unescape(found[1]), unescape(found[2].partition("·")[0]).strip()


@pytest.mark.parametrize(
    ("query", "command"),
    [
        ({}, "onboard status"),
        ({"outcome": ["Waiting", "Failed"]}, "onboard status --outcome Waiting --outcome Failed"),
        ({"subscription": SUBSCRIPTION.upper()}, f"onboard status --subscription {SUBSCRIPTION}"),
        ({"attention": "1", "outcome": "Failed"}, "onboard status --outcome Failed --attention"),
        ({"group": "app-rg", "name": "web"}, "onboard status --resource-group app-rg --begins web"),
        ({"cause": "timeout", "waitingFor": "vm-running"}, "onboard status --cause timeout --waiting-for vm-running"),
        ({"policy": "linux-monitoring", "extension": "oms-agent-linux"}, None),
        ({"text": 'it\'s $(reboot); `id` "x" & <b>'}, None),
        ({"text": "--exact", "name": "-rf", "policy": "-p"}, None),
        ({"text": "two\nlines"}, None),
    ],
)
async def test_the_command_of_the_machines_selects_what_the_page_selects(
    world: World, query: dict[str, str | list[str]], command: str | None
) -> None:
    address = urlencode(query, doseq=True)
    shown, _ = await footer(world, f"/machines?{address}")
    assert command is None or shown == command
    words = shlex.split(shown)
    assert words[:2] == ["onboard", "status"]
    args = build_parser(words[1:2]).parse_args(words[1:])
    assert read_query(args) == machines.read_query(Query.read(address))


async def test_what_a_command_cannot_do_is_said_in_words() -> None:
    world = await full_world(100)
    assert await footer(world, "/machines") == ("onboard status", "")
    place = re.search(r'href="/api/ui(/machines\?at=[^"]+)">Go on', (await get(world, "/machines")).body.decode())
    assert place, "the fleet fits on one page"
    assert await footer(world, unescape(place[1])) == ("onboard status", "(it begins at the start of the list)")


async def test_the_command_of_a_machine_names_it(world: World) -> None:
    assert (await footer(world, f"/machine?{urlencode({'id': BROKEN})}"))[0] == f"onboard status {BROKEN} --history"
    explained = f"/machine?{urlencode({'id': BROKEN, 'explain': '1'})}"
    assert (await footer(world, explained))[0] == f"onboard policy explain --vm {BROKEN}"


@pytest.mark.parametrize(
    "view", [view for view in VIEWS.values() if view.name != "machine"], ids=lambda view: view.title
)
async def test_each_command_exists(world: World, view: object) -> None:
    shown, _ = await footer(world, f"/{getattr(view, 'name', '')}")
    words = shlex.split(shown)[1:]
    build_parser(words).parse_args(words)
