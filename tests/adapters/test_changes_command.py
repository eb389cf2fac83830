"""`onboard changes` on a real table: its table in 80 columns, its records, its order, its exit codes."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from onboarding.application.change_queries import ChangeOrder, ChangeQuery
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.cli.machines.change_output import COLUMNS, ChangeTable
from onboarding.cli.machines.changes import Progress, write_changes
from onboarding.cli.main import main
from onboarding.domain.reconcile.change import Answer, Change
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from simulator.azurite import Azurite
from tests.adapters.conftest import delete_table, storage_of
from tests.adapters.storage.rows import OMS, final, new_vm, trigger, write
from tests.flow.world import LedgerInMemory

WEB, DB = new_vm("web-01"), new_vm("db-01", "shop-test")
NOW = datetime.now(UTC)
REASON = "no extension of this publisher and type was found, and the policy wants one on every machine of this scope"
PERSON = "aaaaaaaa-0000-4000-8000-000000000001"
REQUEST = "8d3f1c52-7c1e-5b0e-9a0e-0f1f5d2f7f10"

type Run = Callable[..., tuple[int, str, str]]


def change_of(vm: VmId, step: str = "extension", minutes: float = 60, **columns: Any) -> Change:
    at = NOW - timedelta(minutes=minutes)
    usual: dict[str, Any] = {
        "resource_id": str(vm),
        "extension": OMS,
        "step": step,
        "subject": "OMSExtension",
        "attempt": 1,
        "policy": "linux-monitoring",
        "policy_hash": "0123456789abcdef",
        "reason": REASON,
        "sent_at": at,
        "client_request_id": REQUEST,
        "answer": Answer.ACCEPTED,
        "event_id": "event-1",
        "event_time": at,
        "correlation_id": "cccccccc-0000-4000-8000-000000000001",
    }
    return Change(**usual | columns)


REFUSED: dict[str, Any] = {"answer": Answer.REFUSED, "error_code": "Conflict", "message": "=busy \x1b[31mnow"}


async def fill(connection: str) -> None:
    await delete_table(connection)
    async with onboarding_table(storage_of(connection), None) as table:
        ledger = TableLedger(table)
        identity = change_of(WEB, "identity", 70, subject="system", client_request_id="another")
        await ledger.append_changes([change_of(WEB), identity])
        done = final(WEB, client_request_id=REQUEST)
        await write(ledger, done, trigger("done", NOW - timedelta(minutes=50)), None)
        refused = change_of(DB, minutes=30, policy="databases", by=PERSON, **REFUSED)
        await ledger.append_changes([refused, change_of(DB, minutes=9 * 24 * 60, event_id="old")])


@pytest.fixture
def run(azurite: Azurite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command on three recent changes and an old one; returns exit code, output and errors."""
    asyncio.run(fill(azurite.connection_string))
    settings = tmp_path / "local.settings.json"
    settings.write_text(json.dumps({"Values": {"AzureWebJobsStorage": azurite.connection_string}}))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["changes", "--settings", str(settings), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_the_newest_comes_first_with_all_ids(run: Run) -> None:
    code, out, err = run("-o", "jsonl")

    found = records(out)
    assert (code, err) == (0, "")
    assert [(each["resourceId"], each["step"], each["answer"], each["result"]) for each in found] == [
        (str(DB), "extension", "refused", ""),
        (str(WEB), "extension", "accepted", "Installed"),
        (str(WEB), "identity", "accepted", ""),
    ]
    assert list(found[0]) == list(COLUMNS)
    assert found[0]["by"] == PERSON
    assert found[0]["errorCode"] == "Conflict"
    assert found[1]["requestId"] == REQUEST
    assert found[1]["policyHash"] == "0123456789abcdef"
    assert found[1]["reason"] == REASON
    assert datetime.fromisoformat(found[1]["time"]).tzinfo is not None
    assert json.loads(run("-o", "json")[1]) == found


def test_csv_has_a_line_of_names_and_no_formulas(run: Run) -> None:
    code, out, _ = run("-o", "csv")
    header, *rows = list(csv.reader(StringIO(out)))
    assert (code, tuple(header), len(rows)) == (0, COLUMNS, 3)
    message = rows[0][COLUMNS.index("message")]
    assert message.startswith("'=busy")
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ((), 3),
        (("--since", "45m"), 1),
        (("--since", "30d"), 4),
        (("--policy", "Databases"), 1),
        (("--step", "IDENTITY"), 1),
        (("--step", "identity", "extension"), 3),
        (("web-01",), 2),
        (("-g", "shop-TEST"), 1),
        (("-g", "Shop-Prod", "-n", "web-01"), 2),
        (("--subscription", WEB.subscription), 2),
        ((str(DB),), 1),
        (("--limit", "2"), 2),
        (("--sort", "name"), 3),
        (("--sort", "name", "--limit", "1"), 1),
    ],
)
def test_what_is_selected(run: Run, arguments: tuple[str, ...], number: int) -> None:
    code, out, _ = run(*arguments, "-o", "jsonl")
    assert (code, len(records(out))) == (0, number)


def test_a_limit_that_cuts_says_so(run: Run) -> None:
    _, out, err = run("--limit", "1", "-o", "jsonl")
    assert records(out)[0]["resourceId"] == str(DB)
    assert err == "the newest 1 of 3 changes; --limit N shows more, and --sort name all of them\n"


def test_nothing_found_is_exit_code_1(run: Run) -> None:
    assert run("--policy", "nobodys") == (1, "no changes match\n", "")
    assert run("--policy", "nobodys", "-o", "json") == (1, "[]\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--step", "reboot"), "is no step; use identity, association, extension, removal"),
        (("--limit", "0"), "write 1 or more"),
    ],
)
def test_bad_arguments_are_named(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_its_width_and_cuts_no_reason(width: int) -> None:
    output = StringIO()
    table = ChangeTable(Console(file=output, width=width))
    installed = Outcome.INSTALLED.value
    for change in (change_of(WEB, result=installed, attempt=2), change_of(DB, by=PERSON, **REFUSED)):
        table.write(change)
    table.end()

    text = output.getvalue()

    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    words = " ".join(text.split())
    assert "correlation cccccccc-0000-4000-8000-000000000001" in text, "an id is not broken in two"
    for ids in (REQUEST, PERSON, "cccccccc-0000-4000-8000-000000000001", "01234567"):
        assert ids in words
    flat = "".join(text.split())
    for part in ("accepted: Installed", "refused (Conflict)", "attempt 2", "shop-test/db-01"):
        assert "".join(part.split()) in flat, part
    if width == 80:
        assert REASON in words


async def test_the_progress_of_a_long_read_is_said_every_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = Progress(lambda: now[0])
    for _ in range(12):
        now[0] += 1
        progress(100)
    assert capsys.readouterr().err == "500 lines of the history read so far\n1,000 lines of the history read so far\n"


class Written:
    """Keeps no change, but counts them and the most that came before the end of the reading."""

    def __init__(self, ledger: Fleet) -> None:
        self.ledger, self.number, self.at = ledger, 0, 0

    def write(self, change: Change) -> None:
        self.number += 1
        self.at = self.at or self.ledger.read_machines

    def end(self) -> None:
        return


class Fleet(LedgerInMemory):
    """Many machines with a change each, made while they are read."""

    read_machines = 0

    async def next_subscription(self, after: str) -> str:
        return "" if after else WEB.subscription

    async def changes(self, *_: Any) -> Any:
        for number in range(2000):
            self.read_machines += 1
            yield change_of(VmId(WEB.subscription, "g", f"vm{number:04}"), minutes=number)


async def test_by_name_a_fleet_is_streamed_and_by_time_only_the_newest_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    query = ChangeQuery(since=NOW - timedelta(days=7))
    written = Written(Fleet())
    assert await write_changes(written.ledger, query, ChangeOrder.NAME, None, written) == 0
    assert (written.number, written.at) == (2000, 2), "the first is written once the second machine begins"

    written = Written(Fleet())
    assert await write_changes(written.ledger, query, ChangeOrder.TIME, None, written) == 0
    assert written.number == 1000
    assert "the newest 1,000 of 2,000 changes" in capsys.readouterr().err
