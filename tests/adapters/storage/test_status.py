"""`onboard status` on a real table: the rows that it shows, its forms of output, its exit codes."""

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

from onboarding.application.notifications import EventRef
from onboarding.application.row_queries import CountedRows
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.cli.machines.status_output import RowTableWriter, write_totals
from onboarding.cli.main import main
from onboarding.cli.output import Form
from onboarding.cli.times import parse_since
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.reconcile.row_totals import RowKind, Totals
from onboarding.domain.resource_id import VmId
from simulator.azurite import Azurite
from tests.adapters.conftest import delete_table, storage_of
from tests.adapters.storage.rows import OMS, TIME, final, new_vm, row_of, trigger, write

WAITING, FAILED, DONE = new_vm("web-01"), new_vm("web-02", "shop-test"), new_vm("db-01")
HOUR = timedelta(hours=1)

type Status = Callable[..., tuple[int, str, str]]


@pytest.fixture
def status(azurite: Azurite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Status:
    """Runs the command with the settings of a file; returns exit code, output and errors."""
    settings = tmp_path / "local.settings.json"
    settings.write_text(json.dumps({"Values": {"AzureWebJobsStorage": azurite.connection_string}}))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["status", "--settings", str(settings), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def written(azurite: Azurite) -> None:
    """Three VMs: one waits, one failed after a scheduled check, one is installed."""
    asyncio.run(fill(azurite.connection_string))


async def fill(connection: str) -> None:
    await delete_table(connection)
    async with onboarding_table(storage_of(connection), None) as table:
        ledger = TableLedger(table)
        waiting = row_of(WAITING, distribution="Ubuntu", os_version="16.04")
        await write(ledger, waiting, trigger("11111111-aaaa"), None)
        await story(ledger, FAILED)
        await write(ledger, final(DONE, duration_ms=118_432), trigger("22222222-bbbb"), None)


async def story(ledger: TableLedger, vm: VmId) -> None:
    failed = final(
        vm, Outcome.FAILED, reason="exit code 51", advice="Use a supported \x1b[31mrelease.", error_code="51"
    )
    version = await write(ledger, row_of(vm), trigger("33333333-cccc"), None)
    version = await write(ledger, row_of(vm, reason="still not running"), EventRef("look.1", TIME + HOUR), version)
    await write(ledger, failed, EventRef("44444444-dddd", TIME + 26 * HOUR), version)


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.usefixtures("written")
def test_the_table_shows_every_vm_and_counts_the_outcomes_in_120_columns(status: Status) -> None:
    code, out, _ = status()

    assert code == 0
    assert max(len(line) for line in out.splitlines()[:-1]) <= 120
    for words in (
        "Shop-Prod/web-01",
        "Ubuntu 16.04",
        "Waiting",
        "the VM is not running (vm-running)",
        "next 11-20 10:14",
    ):
        assert words in out
    assert "118,432" in out
    assert "3 rows: 1 Waiting, 1 Installed, 1 Failed" in out


@pytest.mark.usefixtures("written")
def test_totals_alone(status: Status) -> None:
    assert status("--totals") == (0, "3 rows: 1 Waiting, 1 Installed, 1 Failed\n", "")
    assert status("--totals", "--vm", "web-02") == (0, "1 row: 1 Failed\n", "")
    assert status("--totals", "--outcome", "Gone")[:2] == (1, "nothing in the table matches\n")


@pytest.mark.usefixtures("written")
def test_totals_for_machines(status: Status) -> None:
    _, out, _ = status("--totals", "--json")
    assert json.loads(out) == {"rows": 3, "outcomes": {"Waiting": 1, "Installed": 1, "Failed": 1}}

    code, out, _ = status("--totals", "--json", "--vm", "nobody")
    assert (code, json.loads(out)) == (1, {"rows": 0, "outcomes": {}})


@pytest.mark.usefixtures("written")
def test_totals_of_the_sweep_are_shown_with_their_age(status: Status, azurite: Azurite) -> None:
    at = datetime.now(UTC) - timedelta(minutes=7, seconds=30)
    counts = {
        RowKind("linux", OMS, Outcome.INSTALLED, "", ""): 1_200,
        RowKind("linux", OMS, Outcome.FAILED, "timeout", ""): 34,
    }

    async def keep() -> None:
        async with onboarding_table(storage_of(azurite.connection_string), None) as table:
            await TableLedger(table).write_totals(Totals(WAITING.subscription, at, counts))

    asyncio.run(keep())
    mine = ("--subscription", WAITING.subscription)
    age = "as the sweep counted them 7 min ago; --exact counts them now\n"
    assert status("--totals", *mine) == (0, f"1,234 rows: 1,200 Installed, 34 Failed\n{age}", "")
    assert status("--totals", "--cause", "timeout", "--policy", "LINUX")[1] == f"34 rows: 34 Failed\n{age}"
    assert status("--totals", "-o", "csv", *mine) == (0, "outcome,rows\nInstalled,1200\nFailed,34\n", age)
    assert json.loads(status("--totals", "-o", "json", *mine)[1])["asOf"] == at.isoformat(timespec="seconds")
    assert status("--totals", "--exact", *mine)[1] == "1 row: 1 Waiting\n"
    assert "3 rows" in status("--totals", "--exact")[1]


def test_totals_say_how_many_machines_are_older_than_their_policy(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {
        RowKind("linux", OMS, Outcome.AUDITED, "existing-machine", ""): 1_450,
        RowKind("windows", OMS, Outcome.AUDITED, "existing-machine", ""): 50,
        RowKind("audits", OMS, Outcome.AUDITED, "", ""): 7,
    }
    now = datetime.now(UTC)
    write_totals(CountedRows(kinds, None), Form.TABLE, now)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "1,507 rows: 1,507 Audited"
    assert [line.partition(" of them only Audited since")[0] for line in lines] == ["1,450", "50"]
    assert "older than policy linux (existing-machine); `onboard enforce linux` takes them up" in lines[0]
    write_totals(CountedRows(kinds, None), Form.JSON, now)
    output = json.loads(capsys.readouterr().out)
    assert (output["existingMachines"], output["toTakeUp"]) == (1500, {"linux": 1450, "windows": 50})


@pytest.mark.usefixtures("written")
def test_what_needs_a_person_is_shown_alone(status: Status) -> None:
    code, out, _ = status("--attention", "-o", "jsonl")
    assert (code, [row["VmName"] for row in objects(out)]) == (0, ["web-02"])
    assert status("--attention", "--subscription", WAITING.subscription)[0] == 1
    assert [row["VmName"] for row in objects(status("--cause", "timeout", "-o", "jsonl")[1])] == []


def test_many_rows_are_shown_a_page_at_a_time() -> None:
    shown = StringIO()
    table = RowTableWriter(Console(file=shown, width=120))
    rows = [final(new_vm(f"vm-{number:04}")) for number in range(1100)]

    for row in rows[:501]:
        table.write(row)
    assert "vm-0499" in shown.getvalue()
    for row in rows[501:]:
        table.write(row)
    table.end()

    lines = shown.getvalue().splitlines()
    assert [line.split()[0][-4:] for line in lines if "vm-" in line] == [f"{number:04}" for number in range(1100)]
    assert sum(line.startswith("VM ") for line in lines) == 3
    assert lines[-1] == "1,100 rows: 1,100 Installed"


@pytest.mark.usefixtures("written")
def test_control_characters_of_a_row_are_not_printed(status: Status) -> None:
    _, out, _ = status("--vm", "web-02")

    assert "\x1b" not in out
    assert "Use a supported ?[31mrelease." in out


@pytest.mark.usefixtures("written")
def test_json_has_every_column_of_the_row(status: Status) -> None:
    code, out, _ = status("--json", "--vm", "web-02")

    assert code == 0
    (row,) = objects(out)
    assert row["Outcome"] == "Failed"
    assert row["FinishedAt"] == "2026-11-20T09:16:07.331820+00:00"
    failed = final(FAILED, Outcome.FAILED, reason="exit code 51", advice=row["Advice"], error_code="51")
    assert set(row) == set(failed.to_properties())


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], {"web-01", "web-02", "db-01"}),
        (["--outcome", "failed", "WAITING"], {"web-01", "web-02"}),
        (["--outcome", "Failed", "--outcome", "Installed"], {"web-02", "db-01"}),
        (["--resource-group", "shop-prod"], {"web-01", "db-01"}),
        (["--subscription", WAITING.subscription.upper()], {"web-01"}),
        (["--vm", "WEB-02"], {"web-02"}),
        (["--begins", "WEB"], {"web-01", "web-02"}),
        (["--waiting-for", "vm-running"], {"web-01"}),
        (["--text", "Exit code 51"], {"web-02"}),
        (["--extension", "oms-agent-linux", "--limit", "10"], {"web-01", "web-02", "db-01"}),
        (["--since", "2026-11-20T09:15", "--sort", "name"], {"web-02", "db-01"}),
        (["--since", "2026-11-20T09:00+00:00"], {"web-01", "web-02", "db-01"}),
    ],
)
def test_rows_are_selected_by_their_columns(status: Status, arguments: list[str], found: set[str]) -> None:
    code, out, _ = status("--json", *arguments)

    assert code == 0
    assert {row["VmName"] for row in objects(out)} == found


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    "arguments", [["--vm", "nobody"], ["--outcome", "Gone"], ["--vm", "nobody", "--history"], ["--policy", "none"]]
)
def test_no_matching_row_is_exit_code_1(status: Status, arguments: list[str]) -> None:
    assert status(*arguments)[0] == 1
    assert status(*arguments, "--json")[:2] == (1, "")


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("more", [[], ["--json"], ["--totals"]])
def test_a_policy_or_an_extension_that_does_not_exist_is_named_with_those_that_do(
    status: Status, more: list[str]
) -> None:
    code, _, errors = status("--policy", "azure-monitr", "--extension", "omsagent-linux", *more)
    policy, extension = errors.splitlines()
    assert code == 1
    assert policy.startswith("unknown policy 'azure-monitr'; known policies: azure-monitor, ")
    assert extension.startswith("unknown extension 'omsagent-linux'; known extensions: oms-agent-linux, ")
    assert extension.endswith("; did you mean 'oms-agent-linux'?")
    assert status("--policy", "AZURE-MONITOR", "--extension", "oms-agent-linux", *more)[::2] == (1, "")


@pytest.mark.usefixtures("written")
def test_the_history_of_a_vm_begins_with_its_first_line(status: Status) -> None:
    code, out, _ = status("--vm", "WEB-02", "--history")

    assert code == 0
    heading, _, first, second, third, *_ = out.splitlines()
    assert heading == str(FAILED)
    assert first.split()[:6] == ["2026-11-20", "09:14:07", "+00:00:00", "event", "33333333", "Waiting"]
    assert second.split()[:6] == ["2026-11-20", "10:14:07", "+01:00:00", "scheduled", "check", "Waiting"]
    assert third.split()[:7] == ["2026-11-21", "11:14:07", "+1d", "02:00:00", "event", "44444444", "Failed"]


@pytest.mark.usefixtures("written")
def test_the_history_in_json_names_each_event(status: Status) -> None:
    _, out, _ = status("--vm", "web-02", "--history", "--json")

    assert [row["EventId"] for row in objects(out)] == ["33333333-cccc", "look.1", "44444444-dddd"]


def test_a_name_of_several_vms_needs_the_resource_group(status: Status, azurite: Azurite) -> None:
    async def twins() -> None:
        await delete_table(azurite.connection_string)
        async with onboarding_table(storage_of(azurite.connection_string), None) as table:
            for group in ("blue", "green"):
                await write(TableLedger(table), row_of(VmId(WAITING.subscription, group, "web")), trigger(), None)

    asyncio.run(twins())

    code, _, error = status("--vm", "web", "--history")
    assert code == 2
    assert "blue" in error
    assert "green" in error
    assert status("--vm", "web", "--resource-group", "Green", "--history")[0] == 0


def test_a_missing_table_matches_nothing(status: Status, azurite: Azurite) -> None:
    asyncio.run(delete_table(azurite.connection_string))

    assert status()[:2] == (1, "nothing in the table matches\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "settings.json:1); give a local.settings.json"),
        ("[]", "missing object 'Values' ("),
        ('{"Values":\n {"A": 1}}', "settings.json:2: Values.A); put it in quotes"),
        ('{"IsEncrypted": true, "Values": {"A": "B"}}', "func settings decrypt"),
        ('{"Values": {"AzureWebJobsStorage": "AccountKey=c2VjcmV0"}}', "AzureWebJobsStorage"),
        ('{"Values": {"AzureWebJobsStorage": ""}}', "AzureWebJobsStorage"),
    ],
)
def test_bad_settings_are_exit_code_2_and_name_the_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(content)

    assert main(["status", "--settings", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "c2VjcmV0" not in error


def test_an_account_without_an_answer_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;TableEndpoint=http://127.0.0.1:9/a;"
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"Values": {"AzureWebJobsStorage": nowhere}}))

    assert main(["status", "--settings", str(file)]) == 2
    error = capsys.readouterr().err
    assert "could not be read" in error
    assert "AzureWebJobsStorage" in error
    assert "c2VjcmV0" not in error


def test_a_history_needs_a_vm(status: Status) -> None:
    code, _, error = status("--history")
    assert code == 2
    assert "--vm" in error


def test_every_outcome_can_be_shown(azurite: Azurite, status: Status) -> None:
    async def fill_in() -> None:
        await delete_table(azurite.connection_string)
        async with onboarding_table(storage_of(azurite.connection_string), None) as table:
            for outcome in Outcome:
                vm = new_vm(outcome.value)
                row: Row = final(vm, outcome) if outcome.final else row_of(vm, outcome=outcome)
                await write(TableLedger(table), row, trigger(), None)

    asyncio.run(fill_in())

    _, out, _ = status()
    assert f"{len(Outcome)} rows" in out
    assert all(f"1 {outcome.value}" in out for outcome in Outcome)


@pytest.mark.usefixtures("written")
def test_a_vm_is_named_by_its_id_or_its_name(status: Status) -> None:
    for named in ([str(FAILED)], [str(FAILED).upper()], ["web-02"], ["-n", "WEB-02"], ["-g", "shop-test", "web-02"]):
        code, out, _ = status("-o", "jsonl", *named)
        assert (code, [row["VmName"] for row in objects(out)]) == (0, ["web-02"])
        assert status("--history", *named)[0] == 0


@pytest.mark.usefixtures("written")
def test_a_name_of_several_vms_is_listed_before_a_command_begins(
    azurite: Azurite, status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = VmId(FAILED.subscription, "blue", FAILED.name)

    async def add() -> None:
        async with onboarding_table(storage_of(azurite.connection_string), None) as table:
            await write(TableLedger(table), row_of(twin), trigger(), None)

    asyncio.run(add())
    settings = ["--settings", str(tmp_path / "local.settings.json")]
    for command in (["install"], ["retry"], ["extensions"], ["logs"]):
        assert main([*command, *settings, "web-02"]) == 2
        error = capsys.readouterr().err
        assert "several VMs are named 'web-02': in " in error
        assert f"{FAILED.subscription}/blue" in error
        assert f"{FAILED.subscription}/shop-test" in error
    assert main(["extensions", *settings, "nobody"]) == 2
    assert "the table knows no VM that is named 'nobody' (VM 1); give its id" in capsys.readouterr().err


@pytest.mark.usefixtures("written")
def test_a_document_and_csv_of_the_rows(status: Status) -> None:
    _, document, _ = status("-o", "json")
    _, lines, _ = status("-o", "jsonl")
    _, table, _ = status("-o", "csv")

    assert json.loads(document) == objects(lines)
    assert [row["VmName"] for row in csv.DictReader(StringIO(table))] == [row["VmName"] for row in objects(lines)]
    assert status("--totals", "-o", "csv")[1] == "outcome,rows\nWaiting,1\nInstalled,1\nFailed,1\n"


@pytest.mark.usefixtures("written")
def test_rows_are_sorted_and_limited(status: Status) -> None:
    assert [row["VmName"] for row in objects(status("--json", "--sort", "name")[1])] == ["db-01", "web-01", "web-02"]
    assert [row["VmName"] for row in objects(status("--json", "--sort", "name", "--limit", "1")[1])] == ["db-01"]
    assert status("--totals", "--text", "exit code 51")[:2] == (0, "1 row: 1 Failed\n")
    assert len(objects(status("--json", "--history", "--vm", "web-02", "--text", "still not running")[1])) == 1
    assert status("--totals", "--policy", "none")[:2] == (1, "nothing in the table matches\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--watch"], "--watch draws a table on a terminal, and the output is another (--watch); remove --watch"),
        (["--watch", "2", "-o", "json"], "--watch draws a table on a terminal"),
        (["--attention", "--totals"], "--attention is given with --history or --totals (--attention); remove"),
        (["--exact"], "--exact is given without --totals (--exact); add --totals"),
        (["--vm", "web", "--begins", "w"], "a VM and --begins are given (--begins); remove one of them"),
        (["--history", "--vm", "x", "--sort", "name"], "--sort is given with --history or --totals (--sort); remove"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(status: Status, arguments: list[str], says: str) -> None:
    code, _, error = status(*arguments)
    assert code == 2
    assert says in error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since", "yesterday"], "'yesterday' is not a time; write 30m, 2h or 7d"),
        (["--since", "999999w"], "'999999w' is not a time"),
        (["--limit", "0"], "'0' is not a number of rows"),
        (["--watch", "0.1"], "'0.1' is not a number of seconds"),
        (["--sort", "size"], "invalid choice: 'size'"),
        (["--cause", "time-out"], "'time-out' is no cause; did you mean timeout?"),
        (["--cause", "x"], "'x' is no cause; docs/errors.md lists them"),
    ],
)
def test_a_value_that_is_no_time_or_number_is_named(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", *arguments])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_how_long_ago_is_a_time() -> None:
    for text, ago in (("90s", timedelta(seconds=90)), ("2h", 2 * HOUR), ("1W", timedelta(weeks=1))):
        assert abs(parse_since(text) + ago - datetime.now(UTC)) < timedelta(minutes=1)
    assert parse_since("2026-11-20").tzinfo is UTC
