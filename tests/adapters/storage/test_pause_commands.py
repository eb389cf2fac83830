"""`onboard pause` and `onboard resume` on a real table and queue: what they write, print and refuse."""

from __future__ import annotations

import asyncio
import csv
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.stores.pause_store import TablePauses
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.cli.main import main
from onboarding.domain.limits.pause import Pause
from onboarding.domain.reconcile.row import Row, WaitingFor
from onboarding.domain.resource_id import VmId
from onboarding.settings import QUEUE
from simulator.azurite import Azurite
from tests.adapters.conftest import delete_table, storage_of
from tests.adapters.storage.rows import new_vm, row_of, trigger, write

POLICY = "linux-monitoring"
PERSON = "0a1b2c3d-0000-4000-8000-00000000000f"

type Onboard = Callable[..., tuple[int, str, str]]


@pytest.fixture
def onboard(azurite: Azurite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Onboard:
    """Runs a command on an empty table with the settings of a file; returns exit code, output and errors."""
    asyncio.run(empty(azurite.connection_string))
    settings = tmp_path / "local.settings.json"
    settings.write_text(json.dumps({"Values": {"AzureWebJobsStorage": azurite.connection_string}}))

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*arguments, "--settings", str(settings)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


async def empty(connection: str) -> None:
    await delete_table(connection)
    async with QueueClient.from_connection_string(connection, QUEUE) as queue:
        with suppress(ResourceNotFoundError):
            await queue.clear_messages()


def in_table(azurite: Azurite) -> list[Pause]:
    async def read() -> list[Pause]:
        async with onboarding_table(storage_of(azurite.connection_string), None) as table:
            return [stored.pause for stored in await TablePauses(table).read_all()]

    return asyncio.run(read())


def fill(azurite: Azurite, rows: Sequence[Row]) -> None:
    async def fill_table() -> None:
        async with onboarding_table(storage_of(azurite.connection_string), None) as table:
            for row in rows:
                await write(TableLedger(table), row, trigger(), None, check=row.next_attempt_at)

    asyncio.run(fill_table())


def on_the_queue(azurite: Azurite) -> tuple[int, int]:
    """How many messages are on the queue, and how many of them are visible now."""

    async def read() -> tuple[int, int]:
        async with QueueClient.from_connection_string(azurite.connection_string, QUEUE) as queue:
            properties = await queue.get_queue_properties()
            return properties.approximate_message_count or 0, len(await queue.peek_messages(max_messages=32))

    return asyncio.run(read())


def paused_row(vm: VmId, policy: str = POLICY) -> Row:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=20)
    return row_of(vm, waiting_for=WaitingFor.PAUSED, policy=policy, next_attempt_at=due)


def test_a_person_pauses_everything_lists_it_and_resumes(onboard: Onboard, azurite: Azurite) -> None:
    code, out, _ = onboard("pause", "--reason", "change freeze", "--until", "2h")
    assert code == 0
    assert out.startswith("everything is paused since ")
    assert out.splitlines()[0].endswith(": change freeze")
    assert "`onboard resume` ends it" in out
    (pause,) = in_table(azurite)
    assert (pause.reason, pause.scope, pause.by) == ("change freeze", ("", ""), "")
    assert pause.until is not None
    assert timedelta(minutes=119) < pause.until - pause.since < timedelta(minutes=121)

    code, out, _ = onboard("pause", "--list")
    assert code == 0
    assert out.splitlines()[0] == "everything"
    assert out.splitlines()[-1] == "  change freeze"
    code, out, _ = onboard("resume")
    assert code == 0
    assert "ended: everything is paused" in out
    assert "no VM waits for that any more" in out
    assert in_table(azurite) == []
    assert onboard("pause", "--list")[:2] == (1, "nothing is paused\n")
    assert onboard("resume")[:2] == (1, "nothing is paused\n")


def test_the_list_has_the_usual_forms(onboard: Onboard) -> None:
    subscription = new_vm().subscription
    onboard("pause", "--subscription", subscription.upper(), "--policy", POLICY, "--reason", "=1+1")
    code, out, _ = onboard("pause", "--list", "-o", "json")
    (record,) = json.loads(out)
    assert code == 0
    assert record.items() >= {"subscription": subscription, "policy": POLICY, "reason": "=1+1", "until": None}.items()
    _, out, _ = onboard("pause", "--list", "-o", "jsonl")
    assert json.loads(out) == record
    _, out, _ = onboard("pause", "--list", "-o", "csv")
    (row,) = csv.DictReader(StringIO(out))
    assert row["reason"] == "'=1+1"
    _, out, _ = onboard("pause", "--list")
    assert out.splitlines()[0] == f"policy {POLICY} in subscription {subscription}"


def test_the_list_fits_80_columns_and_shows_no_control_characters(onboard: Onboard, azurite: Azurite) -> None:
    async def write_pause() -> None:
        async with onboarding_table(storage_of(azurite.connection_string), None) as table:
            reason = "the workspace is \x1b[31mwrong, " * 20
            pause = Pause(reason=reason, since=datetime.now(UTC), subscription=new_vm().subscription, by=PERSON)
            await TablePauses(table).write(pause, None)

    asyncio.run(write_pause())
    _, out, _ = onboard("pause", "--list")
    assert max(map(len, out.splitlines())) <= 80
    assert f"  by {PERSON}" in out.splitlines()
    assert "\x1b" not in out


def test_a_pause_of_the_same_scope_replaces_the_one_before_and_names_it(onboard: Onboard, azurite: Azurite) -> None:
    onboard("pause", "--reason", "first")
    code, out, err = onboard("pause", "--reason", "second", "--until", "2099-01-01")
    assert code == 0
    assert re.fullmatch(r"this replaces: everything is paused since .*: first\n", err)
    assert "until 2099-01-01 00:00 UTC: second" in out
    assert [pause.reason for pause in in_table(azurite)] == ["second"]


def test_overlapping_pauses_are_ended_one_by_one_or_all(onboard: Onboard, azurite: Azurite) -> None:
    for scope in ([], ["--policy", POLICY], ["--subscription", new_vm().subscription]):
        assert onboard("pause", "--reason", "because", *scope)[0] == 0
    assert (
        "`onboard resume --policy linux-monitoring` ends it"
        in onboard("pause", "--reason", "because", "--policy", POLICY)[1]
    )
    code, out, _ = onboard("resume", "--policy", POLICY)
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "ended",
        "still there",
        "still there",
        "no VM waits for that any more",
    ]
    code, out, _ = onboard("resume", "--policy", POLICY)
    assert code == 1
    assert out.splitlines()[-1] == "that is not paused; nothing was changed"
    assert len(in_table(azurite)) == 2
    assert onboard("resume", "--all")[0] == 0
    assert in_table(azurite) == []


def test_resume_makes_the_waiting_vms_due_and_no_others(onboard: Onboard, azurite: Azurite) -> None:
    onboard("pause", "--reason", "because")
    waiting = [new_vm(f"web-{number}") for number in range(3)]
    fill(azurite, [*map(paused_row, waiting), row_of(new_vm("stopped"))])
    code, out, _ = onboard("resume")
    assert code == 0
    assert out.splitlines()[-1].startswith("3 VMs will be reconciled now, 400 a minute")
    assert on_the_queue(azurite) == (3, 0), "not before every host knows"


def test_the_status_says_above_its_table_what_is_paused(onboard: Onboard, azurite: Azurite) -> None:
    onboard("pause", "--reason", "change freeze")
    fill(azurite, [paused_row(new_vm("web-01"))])
    code, out, _ = onboard("status")
    assert code == 0
    assert re.match(r"everything is paused since .*: change freeze\n", out)
    assert "(paused)" in out
    assert onboard("status", "--totals")[1].startswith("everything is paused")
    json.loads(onboard("status", "-o", "json")[1])
    onboard("resume")
    assert onboard("status")[1].startswith("VM")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["pause"], "no reason is given (--reason); say why with --reason TEXT, or give --list"),
        (["pause", "--reason", " "], "no reason is given"),
        (["pause", "--list", "--reason", "x"], "--list is given with something to pause"),
        (["pause", "--list", "--policy", POLICY], "--list is given with something to pause"),
        (["pause", "--reason", "x", "-o", "json"], "--output json is given without --list"),
        (["pause", "--reason", "x", "--subscription", "prod"], "'prod' is not the id of a subscription"),
        (["pause", "--reason", "x", "--policy", "linux-monitorin"], "did you mean 'linux-monitoring'"),
        (["resume", "--all", "--policy", POLICY], "--all is given with the scope of one pause"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    onboard: Onboard, azurite: Azurite, arguments: list[str], named: str
) -> None:
    code, out, err = onboard(*arguments)
    assert (code, out) == (2, "")
    assert named in err
    assert in_table(azurite) == []


@pytest.mark.parametrize("time", ["yesterday", "2020-01-01", "0m", "30"])
def test_a_pause_ends_in_the_future(onboard: Onboard, time: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        onboard("pause", "--reason", "x", "--until", time)
    assert ended.value.code == 2
    assert f"'{time}' is " in capsys.readouterr().err


def test_storage_that_cannot_be_reached_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "local.settings.json"
    settings.write_text(json.dumps({"Values": {"AzureWebJobsStorage": "sesame"}}))
    for arguments in (["pause", "--reason", "x"], ["pause", "--list"], ["resume"]):
        assert main([*arguments, "--settings", str(settings)]) == 2
        assert "AzureWebJobsStorage" in capsys.readouterr().err


@pytest.mark.parametrize("scope", [[], ["--policy", POLICY]])
def test_an_install_while_paused_names_the_pause_and_what_to_do(
    onboard: Onboard, monkeypatch: pytest.MonkeyPatch, scope: list[str]
) -> None:
    monkeypatch.setenv("OMS_WORKSPACE_ID", "6f680a37-00c6-41c7-a93f-1437e3462574")
    monkeypatch.setenv("OMS_WORKSPACE_KEY", "bm90IGEgcmVhbCB3b3Jrc3BhY2Uga2V5")
    onboard("pause", "--reason", "change freeze", *scope)
    code, out, err = onboard("install", str(new_vm()), "--policy", POLICY, "--no-wait")
    assert (code, out) == (2, "")
    assert "is paused since" in err
    assert ": change freeze; wait for its end, end it with `onboard resume`, or send with --despite-pause" in err
    assert "nothing was written" in err
