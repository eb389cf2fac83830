"""`onboard migration` on a real table: its forms of output, its exit codes, and what it refuses."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Callable
from copy import replace
from io import StringIO
from pathlib import Path

import pytest

from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.cli.main import main
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId
from simulator.azurite import Azurite
from simulator.laptop import ROOT
from tests.adapters.conftest import delete_table, storage_of
from tests.adapters.storage.rows import OMS, final, new_vm, row_of, trigger, write

AMA, NEW, RETIRE = "azure-monitor-agent-linux", "azure-monitor", "retire-oms"
FIRST = new_vm("web-1")
SECOND = new_vm("db-1", "Shop-Test")
ADVICE = "Ask the \x1b[31mowner."
SUBSCRIPTIONS = (FIRST.subscription, SECOND.subscription)

type Onboard = Callable[..., tuple[int, str, str]]


def in_place(vm: VmId, policy: str = NEW) -> Row:
    return final(vm, Outcome.INSTALLED, extension=AMA, policy=policy)


def waits(vm: VmId, kind: WaitingFor) -> Row:
    return row_of(
        vm,
        extension=OMS,
        extension_name="OMS",
        policy=RETIRE,
        effect="removeIfExists",
        step="removal",
        waiting_for=kind,
    )


FLEET: tuple[tuple[VmId, tuple[Row, ...]], ...] = tuple(
    (vm, rows(vm))
    for vm, rows in (
        (FIRST, lambda vm: (waits(vm, WaitingFor.ONLY_AFTER), in_place(vm))),
        (
            replace(FIRST, name="web-2"),
            lambda vm: (waits(vm, WaitingFor.HEARTBEAT), in_place(vm)),
        ),
        (
            replace(FIRST, name="web-10"),
            lambda vm: (final(vm, Outcome.REMOVED, policy=RETIRE, effect="removeIfExists"), in_place(vm)),
        ),
        (replace(SECOND, name="db-2"), lambda vm: (in_place(vm),)),
        (
            SECOND,
            lambda vm: (
                waits(vm, WaitingFor.ONLY_AFTER),
                final(
                    vm,
                    Outcome.FAILED,
                    extension=AMA,
                    policy=NEW,
                    error_code="51",
                    cause="unsupported-os",
                    advice=ADVICE,
                    reason="exit code 51",
                ),
            ),
        ),
        (replace(SECOND, name="gone"), lambda vm: (final(vm, Outcome.GONE, extension=AMA, policy=NEW),)),
    )
)


async def fill(connection: str) -> None:
    await delete_table(connection)
    async with onboarding_table(storage_of(connection), None) as table:
        ledger = TableLedger(table)
        for _, rows in FLEET:
            for row in rows:
                await write(ledger, row, trigger(), None)


@pytest.fixture(scope="module")
def settings(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    asyncio.run(fill(azurite.connection_string))
    file = tmp_path_factory.mktemp("settings") / "local.settings.json"
    values = {
        "AzureWebJobsStorage": azurite.connection_string,
        "ONBOARDING_POLICIES": str(ROOT / "samples" / "policies" / "migration"),
    }
    file.write_text(json.dumps({"Values": values}))
    return file


@pytest.fixture
def onboard(settings: Path, capsys: pytest.CaptureFixture[str]) -> Onboard:
    """Runs the command; returns exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["migration", "--settings", str(settings), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_table_has_the_numbers_by_subscription_and_the_reasons(onboard: Onboard) -> None:
    code, out, _ = onboard()
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith("from oms-agent-linux to policy azure-monitor (policy retire-oms removes it)")
    assert [FIRST.subscription, "3", "2", "0", "1", "0"] in lines
    assert [SECOND.subscription, "2", "0", "1", "1", "0"] in lines
    assert ["all", "5", "2", "1", "2", "0"] in lines
    assert ["1", "both", RETIRE, "Waiting", "(only-after)", "by", "itself"] in lines
    assert ["1", "both", RETIRE, "Waiting", "(heartbeat)", "by", "itself"] in lines
    failed = next(line for line in lines if line[:4] == ["1", "only-old", NEW, "Failed"])
    assert failed[4:] == ["(unsupported-os)", "by", "a", "person", "Ask", "the", "?[31mowner."]


def test_records_have_one_number_for_each_reason(onboard: Onboard) -> None:
    code, out, _ = onboard("-o", "jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert sum(record["machines"] for record in records) == 5
    (failed,) = (record for record in records if record["state"] == "only-old")
    assert failed == {
        "from": OMS,
        "to": NEW,
        "subscription": SECOND.subscription,
        "state": "only-old",
        "machines": 1,
        "policy": NEW,
        "outcome": "Failed",
        "reason": "unsupported-os",
        "needsPerson": True,
        "advice": ADVICE,
    }
    assert json.loads(onboard("-o", "json")[1]) == records
    rows = list(csv.DictReader(StringIO(onboard("-o", "csv")[1])))
    assert [row["state"] for row in rows] == [record["state"] for record in records]


def test_one_subscription_alone(onboard: Onboard) -> None:
    code, out, _ = onboard("--subscription", SECOND.subscription.upper(), "-o", "jsonl")
    assert code == 0
    assert {json.loads(line)["subscription"] for line in out.splitlines()} == {SECOND.subscription}


def test_the_machines_of_a_state_are_listed_with_their_reasons(onboard: Onboard) -> None:
    code, out, _ = onboard("--list", "both", "-o", "jsonl")
    listed = {json.loads(line)["resourceId"]: json.loads(line) for line in out.splitlines()}
    assert code == 0
    assert set(listed) == {str(FIRST), str(replace(FIRST, name="web-2"))}
    web = listed[str(FIRST)]
    assert (web["oldOutcome"], web["newOutcome"], web["reason"]) == ("Waiting", "Installed", "only-after")
    assert web["nextAttemptAt"]
    code, out, _ = onboard("--list", "only-old")
    assert code == 0
    assert "db-1" in out
    assert "exit code 51 Ask the ?[31mowner." in " ".join(out.split())


def test_an_empty_list_is_said_and_is_exit_code_1(onboard: Onboard) -> None:
    assert onboard("--list", "neither")[:2] == (1, "no machine in the table is this far\n")
    code, out, _ = onboard("--subscription", new_vm().subscription)
    assert code == 1
    assert "no machine in the table has a row of the two" in out


def test_the_two_can_be_named_where_no_policy_says_them(onboard: Onboard) -> None:
    code, out, _ = onboard("--from", "azure-monitor-agent-windows", "--to", NEW)
    assert code == 0
    assert "(no policy removes it yet)" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--from", "oms-agent"), "unknown extension 'oms-agent' (--from); known extensions: "),
        (("--to", "azure-monitr"), "unknown policy 'azure-monitr' (--to); known policies: "),
        (("--from", "azure-monitor-agent-windows"), "no such removal policy fits --from or --to"),
    ],
)
def test_what_is_unknown_is_named(onboard: Onboard, arguments: tuple[str, ...], expected: str) -> None:
    code, _, errors = onboard(*arguments)
    assert code == 2
    assert expected in errors


def test_without_a_removal_policy_it_says_what_to_write(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads(settings.read_text())["Values"] | {"ONBOARDING_POLICIES": str(ROOT / "policies")}
    other = settings.with_name("other.settings.json")
    other.write_text(json.dumps({"Values": values}))
    assert main(["migration", "--settings", str(other)]) == 2
    assert "give --from EXTENSION and --to POLICY" in capsys.readouterr().err
