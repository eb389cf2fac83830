"""A pause in the middle of a burst: three hosts with one table stop within seconds, and everything goes on after it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.pauses.paused_world import PER_MINUTE, Hosts
from tests.flow.world import START

FLEET, AT = 500, 200
BETWEEN = timedelta(seconds=0.2)  # two events
PAUSED_FROM = START + AT * BETWEEN

# When something happened, by which event, and which request of the operator began the pass, differ with the pause.
_OF_TIME = ("_time", "_at", "_since", "_id", "duration_ms", "taken_up")


async def burst(hosts: Hosts, *, pause_at: int | None) -> list[VmId]:
    fleet = [hosts.world.add(f"web-{number:03}") for number in range(FLEET)]
    for number, vm in enumerate(fleet):
        if number == pause_at:
            await hosts.pause()
        await hosts.worlds[number % len(hosts.worlds)].created(vm)
        hosts.move(BETWEEN)
    return fleet


def content(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__ if not name.endswith(_OF_TIME)}


def waits(hosts: Hosts, fleet: Sequence[VmId]) -> Counter[WaitingFor | None]:
    return Counter(hosts.world.row(vm).waiting_for for vm in fleet)


@pytest.fixture
async def paused() -> tuple[Hosts, list[VmId]]:
    hosts = Hosts(3)
    return hosts, await burst(hosts, pause_at=AT)


async def test_no_host_sends_a_request_later_than_thirty_seconds_after_the_pause(
    paused: tuple[Hosts, list[VmId]],
) -> None:
    hosts, fleet = paused
    late = [at - PAUSED_FROM for at, _ in hosts.arm.sent if at > PAUSED_FROM]
    assert max(late) <= timedelta(seconds=5), "each host uses what it has read for five seconds"
    assert hosts.world.now - PAUSED_FROM > timedelta(seconds=30)
    sent = len(hosts.arm.sent)
    assert AT < sent < FLEET
    assert waits(hosts, fleet) == {WaitingFor.INSTALL: sent, WaitingFor.PAUSED: FLEET - sent}
    assert hosts.arm.calls.count("GET") == FLEET, "events and reads go on"
    assert all(stored.row.claim is None for vm in fleet[sent:] if (stored := hosts.world.ledger.machines[vm.key]))


async def test_a_paused_row_says_so_and_is_checked_within_a_day(paused: tuple[Hosts, list[VmId]]) -> None:
    hosts, fleet = paused
    row = hosts.world.row(fleet[-1])
    assert (row.outcome, row.attempt, row.error_code, row.requested_at) == (Outcome.WAITING, 0, "", None)
    assert row.reason == f"everything is paused since {PAUSED_FROM:%Y-%m-%d %H:%M} UTC: change freeze"
    assert row.next_attempt_at is not None
    assert row.next_attempt_at - hosts.world.now <= timedelta(days=1, minutes=10)


async def test_during_the_pause_a_daily_check_reads_and_sends_nothing(paused: tuple[Hosts, list[VmId]]) -> None:
    hosts, fleet = paused
    sent, lines = len(hosts.arm.sent), len(hosts.world.ledger.log)
    for _ in range(3):
        await hosts.run_check(fleet[-1])
    assert hosts.world.now - START > timedelta(days=3)
    assert len(hosts.arm.sent) == sent
    assert len(hosts.world.ledger.log) == lines, "a wait that goes on has no line of history"


async def test_after_the_pause_every_machine_ends_as_without_it(paused: tuple[Hosts, list[VmId]]) -> None:
    hosts, fleet = paused
    await hosts.finish_installs(fleet)
    hosts.move(timedelta(hours=3))
    held_back = FLEET - len(hosts.arm.sent)

    began = hosts.world.now
    assert await hosts.resume() == held_back
    requests = await hosts.run_requests()
    await hosts.finish_installs(fleet)

    assert len(requests) == held_back
    minutes = Counter((request.due - began) // timedelta(minutes=1) for request in requests)
    assert max(minutes.values()) <= PER_MINUTE, "spread, so that ARM takes them"
    assert Counter(hosts.writes()) == {f"{vm.key}/extensions/omsextension": 1 for vm in fleet}
    without = Hosts(1)
    await without.finish_installs(await burst(without, pause_at=None))
    for vm in fleet:
        assert content(hosts.world.row(vm)) == content(without.world.row(vm))
    machines = [stored.row for stored in hosts.world.ledger.machines.values()]
    left = [row for row in machines if row.claim or row.next_attempt_at]
    assert left == []


async def test_the_sweep_finds_machines_that_nobody_made_due(paused: tuple[Hosts, list[VmId]]) -> None:
    hosts, fleet = paused
    await hosts.finish_installs(fleet)
    hosts.move(timedelta(hours=1))
    assert (await hosts.world.sweep.run()).resumed == 0
    held_back = FLEET - len(hosts.arm.sent)
    await hosts.person.end(None)  # and the command dies
    hosts.move(timedelta(minutes=1))
    assert (await hosts.worlds[1].sweep.run()).resumed == held_back
    await hosts.run_requests()
    await hosts.finish_installs(fleet)
    assert {hosts.world.row(vm).outcome for vm in fleet} == {Outcome.INSTALLED}
    assert len(hosts.writes()) == FLEET


async def test_what_is_paused_is_read_once_in_five_seconds(paused: tuple[Hosts, list[VmId]]) -> None:
    hosts, _ = paused
    seconds = FLEET * BETWEEN / timedelta(seconds=1)
    # One read of the command itself, and of each host one in five seconds, the first at the start.
    assert hosts.world.pauses.reads <= 1 + len(hosts.worlds) * (seconds / 5 + 1)


async def test_concurrent_events_share_one_read() -> None:
    hosts = Hosts(1)
    fleet = [hosts.world.add(f"web-{number:03}") for number in range(50)]
    await asyncio.gather(*(hosts.world.created(vm) for vm in fleet))
    assert len(hosts.writes()) == 50
    assert hosts.world.pauses.reads == 1


async def test_events_that_send_nothing_read_no_pauses() -> None:
    hosts = Hosts(1)
    vm = hosts.world.add()
    await hosts.world.created(vm)
    reads = hosts.world.pauses.reads
    hosts.move(timedelta(hours=1))
    await hosts.world.installed(vm)
    hosts.move(timedelta(hours=1))
    await hosts.world.updated(vm)
    assert hosts.world.row(vm).outcome is Outcome.INSTALLED
    assert hosts.world.pauses.reads == reads


@pytest.mark.parametrize("until", [timedelta(minutes=90), timedelta(days=3)])
async def test_a_pause_that_ends_by_itself_needs_nobody(until: timedelta) -> None:
    hosts, ends = Hosts(2), START + until
    await hosts.pause(until=ends)
    fleet = [hosts.world.add(f"web-{number:03}") for number in range(FLEET)]
    for vm in fleet:
        await hosts.world.created(vm)
    while await hosts.world.run_next_check(until=ends + timedelta(minutes=20)):
        pass
    assert len(hosts.arm.sent) == FLEET
    times = [at for at, _ in hosts.arm.sent]
    assert ends < min(times) <= max(times) < ends + timedelta(minutes=15)
    minutes = Counter((at - ends) // timedelta(minutes=1) for at in times)
    assert max(minutes.values()) < FLEET / 4, "spread, although all of them wait for the same moment"
