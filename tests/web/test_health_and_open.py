"""What the app says of its health to everybody and to a holder of a key, and the command that opens the page."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from onboarding.application.reports.fleet_views import Owner, Share, owner_of
from onboarding.cli.io import CommandFailed
from onboarding.cli.main import main
from onboarding.cli.operations.open_page import page_address
from onboarding.domain.errors import StorageError
from onboarding.domain.failures.failure_rules import Cause
from onboarding.web import health
from onboarding.web.rendering import percent_of, seconds_in_words
from tests.flow.world import World
from tests.web.page_world import full_world


async def test_the_details_say_how_the_work_goes_on() -> None:
    world = await full_world()
    details = await health.live(lambda: world.application, world.now + timedelta(hours=1))
    assert json.loads(json.dumps(details)) == details
    assert (details["storage"], details["token"], details["breakers"], details["poison"]) == ("", True, 1, 1)
    assert details["lastSweep"] == "2026-11-20T10:00:00+00:00"
    assert details["lastEvent"] == "2026-11-20T10:00:00+00:00"
    assert details["backlog"] == 0
    assert [pause["paused"] for pause in details["pauses"]] == ["policy new-agent"]
    assert "fair" not in json.dumps(details)


async def test_storage_that_does_not_answer_makes_the_app_unhealthy() -> None:
    world = World()
    world.pauses.reachable = False
    problem = await health.storage_problem(lambda: world.application)
    assert problem == "the table could not be reached"
    details = await health.live(lambda: world.application, world.now)
    assert (details["storage"], details["lastSweep"]) == (problem, None)
    assert health.plain({"status": "healthy"}, problem) == {"status": "unhealthy"}
    assert health.plain({"status": "healthy"}, "") == {"status": "healthy"}
    assert health.plain({"status": "unhealthy", "problems": ["sesame"]}, "") == {"status": "unhealthy"}


async def test_an_error_of_another_kind_is_named_by_its_type_alone() -> None:
    def broken() -> None:
        raise RuntimeError("password=sesame")

    assert await health.storage_problem(broken) == "cannot be read (RuntimeError)"  # type: ignore[arg-type]

    def unnamed() -> None:
        raise StorageError("AzureWebJobsStorage is not set")

    assert await health.storage_problem(unnamed) == "AzureWebJobsStorage is not set"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("app", "environment", "address"),
    [
        ("", {}, "http://localhost:7071/api/ui"),
        ("", {"WEBSITE_HOSTNAME": "app.azurewebsites.net"}, "https://app.azurewebsites.net/api/ui"),
        ("", {"WEBSITE_HOSTNAME": "localhost:7071"}, "http://localhost:7071/api/ui"),
        ("https://app.example/", {"WEBSITE_HOSTNAME": "other"}, "https://app.example/api/ui"),
        ("http://localhost:7071/api/ui", {}, "http://localhost:7071/api/ui"),
    ],
)
def test_the_address_of_the_page(app: str, environment: dict[str, str], address: str) -> None:
    assert page_address(app, environment) == address


@pytest.mark.parametrize(
    "app", ["app.example", "file:///etc/passwd", "javascript:alert(1)", "https://", "https://[", "https://a?b=c"]
)
def test_what_is_no_address_of_an_app_is_refused(app: str) -> None:
    with pytest.raises(CommandFailed, match="is not the URL of a function app"):
        page_address(app, {})


def test_the_command_prints_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["open", "--app", "https://app.example"]) == 0  # standard output is no terminal here
    assert capsys.readouterr().out == "https://app.example/api/ui\n"


def test_who_can_do_something_is_known_for_every_cause() -> None:
    assert {owner_of(cause) for cause in Cause} == set(Owner)
    assert owner_of(Cause.NOT_AUTHORIZED) is Owner.RIGHTS
    assert owner_of(Cause.LOW_DISK_SPACE) is Owner.MACHINE
    assert owner_of(Cause.THROTTLED) is Owner.TIME


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Share(0, 0), "–"),
        (Share(9999, 10_000), "99.9 %"),
        (Share(1, 1), "100 %"),
        (Share(0, 5), "0.0 %"),
        (Share(1, 3), "33.3 %"),
    ],
)
def test_a_share_is_never_rounded_up_to_all(share: Share, text: str) -> None:
    assert percent_of(share.percent) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.4, "0 s"),
        (119, "119 s"),
        (600, "10 min"),
        (7200, "2 h"),
        (9000, "2 h 30 min"),
        (200_000, "2 days"),
    ],
)
def test_a_span_is_said_in_its_largest_units(seconds: float | None, text: str) -> None:
    assert seconds_in_words(seconds) == text
