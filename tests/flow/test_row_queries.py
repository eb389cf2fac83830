"""The questions that people ask the table, and the tables that answer them: filters, order, limit, width, watching."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from onboarding.application.ports import StoredRow
from onboarding.application.row_queries import (
    RowOrder,
    RowQuery,
    matching_history,
    matching_page,
    matching_rows,
    matching_totals,
)
from onboarding.cli.machines.status_output import HistoryWriter, RowTableWriter
from onboarding.cli.machines.status_watch import watch
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Row, Selection, WaitingFor
from onboarding.domain.reconcile.row_totals import RowKind, Totals
from onboarding.domain.resource_id import VmId
from tests.flow.world import LedgerInMemory

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LONG = "the handler failed: " + "a package of the distribution is missing, " * 4 + "and this is the last word"
SUBSCRIPTION = "00000000-0000-4000-8000-00000000000"


def row(name: str, outcome: Outcome = Outcome.INSTALLED, **changes: Any) -> Row:
    usual: dict[str, Any] = {
        "resource_id": str(VmId(f"{SUBSCRIPTION}1", "app-rg", name)),
        "vm_name": name,
        "resource_group": "app-rg",
        "extension": "oms-agent-linux",
        "outcome": outcome,
        "reason": f"reason of {name}",
        "policy": "linux",
        "event_time": NOON,
    }
    return Row(**usual | changes)


EARLY = row("early", event_time=NOON - 3 * HOUR, finished_at=NOON - 2 * HOUR, duration_ms=3_600_000)
LATE = row("Late", Outcome.FAILED, policy="other", finished_at=NOON + HOUR, duration_ms=0)
WAITS = row(
    "waits",
    Outcome.WAITING,
    extension="dependency-agent",
    event_time=NOON - 9 * HOUR,
    waiting_since=NOON - HOUR,
    waiting_for=WaitingFor.VM_RUNNING,
    next_attempt_at=NOON + HOUR,
)
ROWS = (LATE, WAITS, EARLY)


class Table(LedgerInMemory):
    """The ledger in memory with these rows, and the number of rows that were read."""

    def __init__(self, *rows: Row) -> None:
        super().__init__()
        self.read_rows = 0
        self.add(*rows)

    def add(self, *rows: Row) -> None:
        for each in rows:
            self.rows[each.resource_id.lower(), each.extension] = StoredRow(each, "v1")
            self.log[each.resource_id.lower(), each.extension, f"{len(self.log):013}", "event"] = each

    async def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        async for each in super().current(selection):
            self.read_rows += 1
            yield each

    async def history(self, vm: VmId) -> AsyncIterator[Row]:
        for each in self.log.values():
            yield each


async def names(query: RowQuery) -> list[str]:
    return [each.vm_name async for each in matching_rows(Table(*ROWS), query)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (RowQuery(), ["Late", "waits", "early"]),
        (RowQuery(policies=("LINUX",)), ["waits", "early"]),
        (RowQuery(policies=("linux", "other")), ["Late", "waits", "early"]),
        (RowQuery(extensions=("dependency-agent",)), ["waits"]),
        (RowQuery(since=NOON - HOUR), ["Late", "waits"]),
        (RowQuery(since=NOON + timedelta(minutes=90)), []),
        (RowQuery(selection=Selection(outcomes=(Outcome.FAILED,)), policies=("linux",)), []),
        (RowQuery(order=RowOrder.NAME), ["early", "Late", "waits"]),
        (RowQuery(order=RowOrder.OUTCOME), ["waits", "early", "Late"]),
        (RowQuery(order=RowOrder.TIME), ["Late", "waits", "early"]),
        (RowQuery(order=RowOrder.NEXT), ["waits", "Late", "early"]),
        (RowQuery(order=RowOrder.DURATION), ["early", "Late", "waits"]),
        (RowQuery(order=RowOrder.NAME, limit=2), ["early", "Late"]),
        (RowQuery(limit=1), ["Late"]),
        (RowQuery(limit=1, policies=("linux",)), ["waits"]),
    ],
)
async def test_rows_are_filtered_sorted_and_limited(query: RowQuery, found: list[str]) -> None:
    assert await names(query) == found


async def test_a_limit_ends_the_reading() -> None:
    table = Table(*(row(f"vm-{number}") for number in range(100)))
    assert len([each async for each in matching_rows(table, RowQuery(limit=3))]) == 3
    assert table.read_rows == 3


async def test_a_limit_keeps_the_first_of_many_rows_in_order() -> None:
    table = Table(*(row(f"vm-{number * 37 % 100:02}") for number in range(100)))
    found = [each.vm_name async for each in matching_rows(table, RowQuery(order=RowOrder.NAME, limit=4))]
    assert found == ["vm-00", "vm-01", "vm-02", "vm-03"]


async def test_totals_count_the_rows_of_the_query() -> None:
    counted = await matching_totals(Table(*ROWS), RowQuery(), NOON)
    assert (counted.outcomes, counted.as_of) == (Counter([each.outcome for each in ROWS]), None)
    counted = await matching_totals(Table(*ROWS), RowQuery(policies=("linux",)), NOON)
    assert counted.outcomes == {Outcome.WAITING: 1, Outcome.INSTALLED: 1}
    counted = await matching_totals(Table(*ROWS), RowQuery(since=NOON - HOUR), NOON)
    assert counted.outcomes == {Outcome.WAITING: 1, Outcome.FAILED: 1}


FIRST, SECOND = f"{SUBSCRIPTION}1", f"{SUBSCRIPTION}2"
KEPT = {
    RowKind("linux", "oms-agent-linux", Outcome.INSTALLED, "", ""): 70,
    RowKind("linux", "oms-agent-linux", Outcome.FAILED, "throttled", ""): 20,
    RowKind("other", "dependency-agent", Outcome.FAILED, "timeout", ""): 3,
    RowKind("other", "dependency-agent", Outcome.WAITING, "", "vm-running"): 4,
}


async def with_totals() -> Table:
    """A table of two subscriptions with a row each, the first with totals of yesterday and of today."""
    elsewhere = row("elsewhere", Outcome.FAILED, resource_id=str(VmId(SECOND, "app-rg", "elsewhere")))
    table = Table(EARLY, elsewhere)
    for at, counts in ((NOON - timedelta(days=1), {}), (NOON - HOUR, KEPT)):
        await table.write_totals(Totals(FIRST, at, counts))
    return table


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        (RowQuery(), 97 + 1),
        (RowQuery(selection=Selection(subscription=FIRST.upper())), 97),
        (RowQuery(selection=Selection(outcomes=(Outcome.FAILED,))), 23 + 1),
        (RowQuery(policies=("OTHER",)), 7),
        (RowQuery(extensions=("dependency-agent",), causes=("Timeout",)), 3),
        (RowQuery(selection=Selection(outcomes=(Outcome.GONE,))), 0),
    ],
)
async def test_totals_of_the_sweep_answer_and_say_how_old_they_are(query: RowQuery, rows: int) -> None:
    counted = await matching_totals(await with_totals(), query, NOON)
    assert (sum(counted.outcomes.values()), counted.as_of) == (rows, NOON - HOUR)


@pytest.mark.parametrize(
    "query",
    [
        RowQuery(selection=Selection(resource_group="app-rg")),
        RowQuery(selection=Selection(vm_name="early")),
        RowQuery(since=NOON - 9 * HOUR),
        RowQuery(selection=Selection(subscription=FIRST)),
    ],
)
async def test_what_totals_do_not_tell_is_counted(query: RowQuery) -> None:
    table = await with_totals()
    counted = await matching_totals(table, query, NOON, exact=bool(query.selection.subscription))
    assert counted.as_of is None
    assert counted.outcomes[Outcome.INSTALLED] == 1


async def test_totals_that_are_too_old_or_have_no_numbers_do_not_answer() -> None:
    table = await with_totals()
    assert (await matching_totals(table, RowQuery(), NOON + timedelta(days=2))).as_of is None
    table.days.clear()
    await table.write_totals(Totals(FIRST, NOON, None))
    counted = await matching_totals(table, RowQuery(), NOON)
    assert (counted.outcomes, counted.as_of) == ({Outcome.INSTALLED: 1, Outcome.FAILED: 1}, None)


async def test_a_page_has_the_rows_of_the_query_among_the_next_ones() -> None:
    table = Table(*ROWS)
    query = RowQuery(policies=("linux",))
    page = await matching_page(table, query, most=2)
    assert [each.vm_name for each in page.rows] == ["early"]
    page = await matching_page(table, query, page.following, most=2)
    assert ([each.vm_name for each in page.rows], page.following) == (["waits"], "")


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), ["Late", "unclear", "elsewhere"]),
        (Selection(subscription=SECOND), ["elsewhere"]),
        (Selection(resource_group="APP-RG", vm_name="late"), ["Late"]),
        (Selection(resource_group="none"), []),
        (Selection(outcomes=(Outcome.UNDETERMINED, Outcome.INSTALLED)), ["unclear"]),
    ],
)
async def test_rows_that_need_a_person_are_found_by_themselves(selection: Selection, found: list[str]) -> None:
    elsewhere = row("elsewhere", Outcome.FAILED, resource_id=str(VmId(SECOND, "app-rg", "elsewhere")))
    table = Table(*ROWS, row("unclear", Outcome.UNDETERMINED), elsewhere)
    query = RowQuery(selection=selection, attention=True)
    assert [each.vm_name async for each in matching_rows(table, query)] == found
    assert table.read_rows == 0
    limited = RowQuery(selection=selection, attention=True, order=RowOrder.NAME, limit=1)
    assert len([each async for each in matching_rows(table, limited)]) == min(1, len(found))


async def test_a_history_is_filtered_and_its_limit_keeps_the_latest() -> None:
    vm = VmId("s", "g", "n")
    lines = [row("n", event_time=NOON + hours * HOUR, reason=str(hours)) for hours in (2, 1, 0)]

    async def reasons(query: RowQuery) -> list[str]:
        return [line.reason for line in await matching_history(Table(*lines), vm, query)]

    assert await reasons(RowQuery()) == ["0", "1", "2"]
    assert await reasons(RowQuery(limit=2)) == ["1", "2"]
    assert await reasons(RowQuery(since=NOON + HOUR)) == ["1", "2"]
    assert await reasons(RowQuery(policies=("other",))) == []


def drawn(*rows: Row, width: int, history: bool = False) -> str:
    console = Console(file=StringIO(), width=width)
    writer = HistoryWriter(console) if history else RowTableWriter(console)
    for each in rows:
        writer.write(each)
    writer.end()
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


WIDE = row(
    "a-name-that-is-rather-long-for-a-vm",
    Outcome.ALREADY_INSTALLED,
    resource_id=str(VmId(f"{SUBSCRIPTION}2", "a-group-with-a-long-name-too", "vm")),
    resource_group="a-group-with-a-long-name-too",
    extension="another-extension-linux",
    distribution="red hat enterprise linux",
    os_version="8.10",
    reason=LONG,
    advice="Install the package, then retry.",
    finished_at=NOON,
    duration_ms=118_432,
)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("history", [False, True])
def test_a_table_fits_and_keeps_the_whole_reason(width: int, history: bool) -> None:
    lines = drawn(EARLY, WIDE, width=width, history=history).splitlines()

    own = [line for line in lines if "rows: " not in line and not line.startswith("/subscriptions")]
    assert max(map(len, own)) <= width
    if width == 80:
        assert history or f"{WIDE.resource_group}/{WIDE.vm_name}" in map(str.strip, own)
        assert LONG in " ".join(" ".join(own).split())
    assert all(word in " ".join(own) for word in LONG.split())


def test_a_column_is_shown_where_there_are_several() -> None:
    one = drawn(EARLY, EARLY, width=120)
    assert "Subscription" not in one
    assert "Extension" not in one

    several = drawn(EARLY, WIDE, width=200)
    assert several.splitlines()[0].split()[:3] == ["VM", "Subscription", "Extension"]
    assert "…00000001" in several
    assert "another-extension-linux" in several


def test_on_80_columns_the_extension_is_whole_beside_the_name() -> None:
    other = row(
        "connected-01",
        Outcome.ALREADY_INSTALLED,
        resource_id=str(VmId(f"{SUBSCRIPTION}2", "rg-data", "connected-01")),
        resource_group="rg-data",
        extension="azure-monitor-agent-linux",
        distribution="oracle",
        os_version="8.10",
        reason=LONG,
        duration_ms=118_432,
    )
    lines = [line.split() for line in drawn(EARLY, other, width=80).splitlines()]

    assert lines[:2] == [["VM", "Subscription", "Extension"], ["OS", "Outcome", "Next/end", "(UTC)", "ms"]]
    assert ["rg-data/connected-01", "…00000002", "azure-monitor-agent-linux"] in lines


async def nothing_paused() -> list[str]:
    return []


async def one_pause() -> list[str]:
    return ["everything is paused since 2026-11-20 10:00 UTC: [bold]freeze"]


async def test_watching_draws_the_rows_again() -> None:
    table, console = Table(EARLY), Console(file=StringIO(), width=80, height=10)
    waits = iter((LATE, None))

    async def wait() -> None:
        if (more := next(waits)) is None:
            raise asyncio.CancelledError
        table.add(more)

    with pytest.raises(asyncio.CancelledError):
        await watch(table, RowQuery(), wait, one_pause, console)
    assert isinstance(console.file, StringIO)
    out = console.file.getvalue()
    assert out.count(": [bold]freeze\n") == 2, "above the rows"
    assert out.count("Ctrl-C ends this") == 2
    assert out.index("1 row: 1 Installed") < out.index("2 rows: 1 Installed, 1 Failed")


async def test_watching_shows_no_more_rows_than_the_terminal_has_lines() -> None:
    table = Table(*(row(f"vm-{number}") for number in range(100)))
    console = Console(file=StringIO(), width=200, height=16)

    async def wait() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await watch(table, RowQuery(), wait, nothing_paused, console)
    assert isinstance(console.file, StringIO)
    assert "10 rows" in console.file.getvalue()
