"""How commands name a VM: by its id, by group and name, or by a name that is unique in the table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onboarding.application.row_queries import machines_named
from onboarding.cli.main import main
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Row, Selection
from onboarding.domain.resource_id import VmId

BLUE, GREEN, OTHER = VmId("s-1", "blue", "Web"), VmId("s-2", "green", "web"), VmId("s-2", "green", "db")
NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;TableEndpoint=http://127.0.0.1:9/a;"
ID = str(OTHER)


class Table:
    """A table with rows of these VMs."""

    def __init__(self, *rows: tuple[VmId, Outcome]) -> None:
        self._rows = rows
        self.selections: list[Selection] = []

    async def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        self.selections.append(selection)
        for vm, outcome in self._rows:
            if selection.subscription in ("", vm.subscription) and selection.resource_group in ("", vm.resource_group):
                yield Row(
                    resource_id=str(vm),
                    vm_name=vm.name,
                    resource_group=vm.resource_group,
                    extension="oms-agent-linux",
                    outcome=outcome,
                    reason="as it is",
                )


THERE = tuple((vm, Outcome.INSTALLED) for vm in (BLUE, GREEN, OTHER, OTHER))


async def test_a_name_finds_each_vm_that_has_it_once() -> None:
    table = Table(*THERE)

    assert await machines_named(table, ["WEB", "db", "nobody"]) == {"WEB": (BLUE, GREEN), "db": (OTHER,), "nobody": ()}
    assert len(table.selections) == 1


async def test_group_and_subscription_narrow_a_name() -> None:
    assert await machines_named(Table(*THERE), ["web"], subscription="s-2") == {"web": (GREEN,)}
    assert await machines_named(Table(*THERE), ["web"], resource_group="blue") == {"web": (BLUE,)}


async def test_a_vm_that_is_gone_counts_only_where_no_other_has_its_name() -> None:
    assert await machines_named(Table((BLUE, Outcome.GONE), (GREEN, Outcome.FAILED)), ["web"]) == {"web": (GREEN,)}
    assert await machines_named(Table((BLUE, Outcome.GONE)), ["web"]) == {"web": (BLUE,)}


COMMANDS = (["install"], ["retry"], ["extensions"], ["logs"], ["policy", "explain"])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_without_its_group_needs_the_table(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AzureWebJobsStorage", "ONBOARDING_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    assert main([*command, "-n", "web"]) == 2
    problem = (
        "'web' is the name of a VM without its resource group, and no storage setting is there (VM 1); add -g GROUP"
    )
    assert problem in capsys.readouterr().err

    monkeypatch.setenv("AzureWebJobsStorage", NOWHERE)
    assert main([*command, "-n", "web"]) == 2
    assert "could not be read" in capsys.readouterr().err


@pytest.mark.parametrize("command", [*COMMANDS, ["status"]])
def test_what_is_no_name_of_a_vm_is_refused_before_the_table_is_read(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "-n", "/subscriptions/s/resourceGroups/g"]) == 2
    assert "'/subscriptions/s/resourceGroups/g' is not the id of a VM (VM" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["status", ID, "-n", "web"], f"{ID!r} and -n are given; name the VM once"),
        (["policy", "explain", "--vm", ID, "-n", "web"], "--vm and -n are both given"),
        (["policy", "explain"], "no VM is named"),
        (["logs"], "no VM is named"),
        (["status", "--history"], "no VM is named (--history); give its id"),
    ],
)
def test_a_vm_is_named_once(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_explain_reads_the_vm_of_group_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARM_ENDPOINT", "http://127.0.0.1:9")
    named = ["-g", "green", "-n", "db", "--subscription", "s-2"]
    assert main(["policy", "explain", "--policies", str(tmp_path), *named]) == 2
    by_name = capsys.readouterr().err
    assert main(["policy", "explain", "--policies", str(tmp_path), "--vm", ID]) == 2
    assert by_name == capsys.readouterr().err
