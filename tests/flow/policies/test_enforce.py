"""`onboard enforce`: which machines it takes up, what it prints, and that the function app does the work."""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from copy import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from onboarding.application.enforcement import Answer, Enforced
from onboarding.application.ports import MachineRows, ScheduledCheck
from onboarding.cli.io import CommandFailed
from onboarding.cli.machines import enforce
from onboarding.cli.main import main
from onboarding.domain.limits.pause import Pause
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Selection, WaitingFor
from onboarding.domain.reconcile.row_totals import RowKind
from onboarding.domain.resource_id import VmId
from tests.flow.policies.test_existing_machines import AUDITED, HOUR, add, outcome, writes
from tests.flow.world import (
    BIONIC,
    OMS,
    POLICY,
    SECOND_POLICY,
    START,
    WORKSPACE_ID,
    WORKSPACE_KEY,
    XENIAL,
    LedgerInMemory,
    World,
    extension,
    vm_id,
)

NAME = POLICY["name"]
MARK = f"{START.isoformat()} person"


@pytest.fixture
def world() -> World:
    return World()


async def audited(world: World, *names: str, **changes: Any) -> list[VmId]:
    vms = [add(world, name, **changes) for name in names]
    for vm in vms:
        await world.updated(vm)
        assert outcome(world, vm) == AUDITED
    world.arm.calls.clear()
    return vms


async def take_up(world: World, vms: Sequence[VmId], *, dry_run: bool = False) -> list[Enforced]:
    return [each async for each in world.enforcements[NAME].run(vms, dry_run=dry_run)]


async def select(world: World, selection: Selection = EVERYTHING, most: int | None = None) -> tuple[VmId, ...]:
    return await world.enforcements[NAME].select(selection, most)


def answers(results: Sequence[Enforced]) -> list[Answer]:
    return [each.answer for each in results]


async def run_checks(world: World) -> None:
    """The function app does what the queue has, each check when it is due, and the handlers finish."""
    waiting = [stored.row for stored in world.ledger.rows.values()]
    for vm in [vm_id(row.vm_name) for row in waiting if row.waiting_for is WaitingFor.INSTALL]:
        await world.finish_install(vm)
    while world.schedule_queue.checks:
        vm = min(world.schedule_queue.checks, key=lambda each: each.due).vm
        await world.run_next_check()
        if world.row(vm).waiting_for is WaitingFor.INSTALL:
            await world.finish_install(vm)


async def command(world: World, *given: str, vms: tuple[VmId, ...] = ()) -> int:
    parser = argparse.ArgumentParser()
    enforce.add(parser.add_subparsers())
    args = parser.parse_args(["enforce", NAME, *given])
    return await enforce.enforce(args, world.enforcements[NAME], vms)


async def test_a_machine_is_taken_up_and_the_function_app_onboards_it_and_keeps_it(world: World) -> None:
    vm, other = await audited(world, "web01", "other")
    world.person = "99999999-0000-4000-8000-00000000000f"
    (result,) = await take_up(world, [vm])
    assert (result.answer, result.due, result.words) == (Answer.TAKEN_UP, START, "would install OmsAgentForLinux")
    assert world.arm.calls == [], "the command calls no ARM"
    row = world.row(vm)
    assert (row.outcome, row.waiting_for, row.taken_up) == (Outcome.WAITING, WaitingFor.ROLLOUT_LIMIT, MARK)
    assert (row.cause, row.error_code, row.finished_at) == ("", "", None)
    assert row.event_id.startswith("request.enforce.")
    await run_checks(world)
    assert outcome(world, vm) == (Outcome.INSTALLED, "", MARK)
    assert world.row(vm).by == world.person
    assert outcome(world, other) == AUDITED
    assert writes(world) == ["PUT"]
    world.arm.machines[vm.key]["resources"] = []
    await world.extension_deleted(vm)
    assert outcome(world, vm) == (Outcome.REQUESTED, "", MARK)


async def test_the_machines_come_spread_by_subscription(world: World) -> None:
    vms = await audited(world, *(f"web-{number}" for number in range(10)))
    enforcement = replace(world.enforcements[NAME], per_minute=5)
    results = [each async for each in enforcement.run(vms)]
    assert [each.due for each in results] == [START + timedelta(minutes=number / 5) for number in range(10)]
    assert world.schedule_queue.checks == [ScheduledCheck(each.vm, each.due) for each in results if each.due]


async def test_a_second_run_has_no_second_effect(world: World) -> None:
    vms = await audited(world, "web01", "web02")
    await take_up(world, vms)
    rows = dict(world.ledger.rows)
    world.now += timedelta(minutes=1)
    again = await take_up(world, vms)
    assert answers(again) == [Answer.BEFORE] * 2
    assert all("taken up" in each.reason and each.due is None for each in again)
    assert world.ledger.rows == rows
    assert await select(world) == ()
    await run_checks(world)
    assert answers(await take_up(world, vms)) == [Answer.BEFORE] * 2
    assert len(writes(world)) == 2


async def test_of_two_persons_at_once_one_takes_each_machine_up(world: World) -> None:
    class Slow(LedgerInMemory):
        async def read(self, *args: Any, **options: Any) -> MachineRows:
            known = await super().read(*args, **options)
            await asyncio.sleep(0)  # both read before either writes
            return known

    world = World(ledger=Slow())
    vms = await audited(world, *(f"web-{number}" for number in range(20)))
    results = await asyncio.gather(take_up(world, vms), take_up(world.with_policies([POLICY]), vms))
    assert Counter(answers([*results[0], *results[1]])) == {Answer.TAKEN_UP: 20, Answer.BEFORE: 20}
    await run_checks(world)
    assert len(writes(world)) == 20


async def test_an_event_at_the_same_time_loses_nothing(world: World) -> None:
    (vm,) = await audited(world, "web01")
    await asyncio.gather(take_up(world, [vm]), world.updated(vm), world.updated(vm))
    await run_checks(world)
    assert outcome(world, vm) == (Outcome.INSTALLED, "", MARK)
    assert writes(world) == ["PUT"]


async def test_a_check_that_was_lost_is_found_by_the_sweep(world: World) -> None:
    (vm,) = await audited(world, "web01")
    await take_up(world, [vm])
    world.schedule_queue.checks.clear()
    world.now += HOUR
    assert (await world.sweep_and_reconcile()).overdue == 1
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_what_cannot_be_taken_up_is_named_with_the_reason(world: World) -> None:
    gone, done, exempt, unseen = (vm_id(name) for name in ("gone", "done", "exempt", "unseen"))
    await audited(world, "gone", "exempt")
    add(world, "done")
    world.arm.set_extension(done, extension())
    await world.updated(done)
    await world.deleted(gone)
    exemption = {"scope": str(exempt), "reason": "a lab"}
    host = world.with_policies([{**POLICY, "exemptions": [exemption]}])
    commits = len(world.ledger.log)
    results = await take_up(host, [gone, done, exempt, unseen])
    assert answers(results) == [Answer.SKIPPED] * 4
    says = ("its row is Gone", "its row is AlreadyInstalled", "exempt from policy", "it has no row yet")
    for each, text in zip(results, says, strict=True):
        assert text in each.reason
    assert "a lab" in results[2].reason
    assert len(world.ledger.log) == commits
    assert world.schedule_queue.checks == []


async def test_a_machine_that_is_deleted_after_it_was_taken_up_ends_gone(world: World) -> None:
    (vm,) = await audited(world, "web01")
    await take_up(world, [vm])
    world.arm.machines.clear()
    await run_checks(world)
    assert world.row(vm).outcome is Outcome.GONE
    assert writes(world) == []


async def test_only_machines_of_the_policy_that_it_spares_are_selected() -> None:
    world = World([POLICY, SECOND_POLICY])
    await audited(world, "web01", "web02", "web03")
    first = world.enforcements[NAME]
    await audited_by_all(World([{**POLICY, "effect": "auditIfNotExists"}], arm=world.arm))
    assert [vm.name for vm in await first.select(EVERYTHING)] == ["web01", "web02", "web03"]
    assert [vm.name for vm in await first.select(EVERYTHING, 2)] == ["web01", "web02"]
    assert await first.select(Selection(subscription="another")) == ()
    assert await first.select(Selection(resource_group="another")) == ()
    await take_up(world, [vm_id("web01")])
    assert world.row(vm_id("web01"), SECOND_POLICY["extension"]).outcome is Outcome.AUDITED
    assert [vm.name for vm in await first.select(EVERYTHING)] == ["web02", "web03"]


async def audited_by_all(world: World) -> None:
    """A policy that audits all machines has rows without machines to take up."""
    vm = vm_id("web01")
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.AUDITED
    assert await select(world) == ()
    assert answers(await take_up(world, [vm])) == [Answer.SKIPPED]


async def test_a_pause_that_begins_later_holds_the_requests_back(world: World) -> None:
    (vm,) = await audited(world, "web01")
    await take_up(world, [vm])
    await world.pauses.write(Pause(reason="freeze", since=world.now), None)
    await world.run_next_check()
    assert world.row(vm).waiting_for is WaitingFor.PAUSED
    assert writes(world) == []


async def test_a_pause_refuses_the_command_and_a_dry_run_names_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (vm,) = await audited(world, "web01")
    await world.pauses.write(Pause(reason="freeze", since=world.now, policy=NAME), None)
    with pytest.raises(CommandFailed, match="freeze; wait for its end, or end it with `onboard resume`; nothing was"):
        await command(world, "--yes")
    assert outcome(world, vm) == AUDITED
    assert await command(world, "--dry-run") == 0
    assert "note: policy linux-monitoring is paused" in capsys.readouterr().err


async def test_the_first_start_on_a_thousand_machines_writes_nothing_and_enforcing_does_what_its_dry_run_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The audit's totals, the dry run's, `existing: enforce` and `onboard enforce` agree; the rollout limit holds."""
    hourly = 200
    limited = {**POLICY, "brake": {"maxInstallsPerHour": hourly}}
    totals: list[dict[RowKind, int]] = []
    for policy in (limited, {**limited, "existing": "enforce"}):
        world = World([policy])
        images = [XENIAL, XENIAL, BIONIC, {"publisher": "contoso", "offer": "own", "sku": "1"}]
        for number in range(1000):
            vm = add(world, f"vm-{number}", image=images[number % 4])
            if number % 10 == 0:
                world.arm.set_extension(vm, extension())
        await world.sweep_and_reconcile()
        if policy is limited:
            assert writes(world) == []
            audit = dict(await world.ledger.count())
            wanted = audit[RowKind(NAME, OMS, Outcome.AUDITED, "existing-machine", "")]
            assert wanted == 450
            assert await command(world, "--dry-run", "-o", "jsonl") == 0
            listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert Counter((each["result"], each["would"]) for each in listed) == {
                ("would be taken up", "would install OmsAgentForLinux"): wanted
            }
            assert writes(world) == []
            world.arm.calls.clear()
            assert await command(world, "--yes", "-o", "jsonl") == 0
            assert world.arm.calls == []
            taken = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert [each["vm"] for each in taken] == [each["vm"] for each in listed]
        per_hour = await finished(world)
        assert max(per_hour.values()) <= hourly
        assert per_hour.total() == wanted
        totals.append(dict(await world.ledger.count()))
        audit_of_rest = {kind: rows for kind, rows in audit.items() if kind.outcome is not Outcome.AUDITED}
        installed = {RowKind(NAME, OMS, Outcome.INSTALLED, "", ""): wanted}
        assert totals[-1] == {**audit_of_rest, **installed}


async def finished(world: World) -> Counter[datetime]:
    """Run all checks; returns the number of installs in each hour."""
    hours = Counter({world.now.replace(minute=0): len(writes(world))})

    async def note() -> None:
        hours[world.now.replace(minute=0, second=0, microsecond=0)] += 1

    world.arm.after_put = note
    await run_checks(world)
    return hours


async def test_the_output_in_each_form(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    vms = tuple(await audited(world, "web01", "web02"))
    assert await command(world, "--limit", "1", "--yes", vms=vms) == 0
    out = capsys.readouterr().out
    assert "app-rg/web01  taken up  would install OmsAgentForLinux" in out
    assert "web02" not in out
    assert "1 VM taken up\n       1 would install OmsAgentForLinux" in out
    assert await command(world, "--yes", "-o", "csv", vms=(*vms, vm_id("none"))) == 1
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert [row["result"] for row in rows] == ["taken up before", "taken up", "skipped"]
    assert [bool(row["due"]) for row in rows] == [False, True, False]
    assert "1 taken up before" in captured.err
    assert await command(world, "--yes", "-o", "json") == 0
    assert "no older machines to take up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"effect": "auditIfNotExists"}, ("audits all machines", "write `effect: deployIfNotExists`")),
        ({"effect": "disabled"}, ("is disabled", "another effect")),
        ({"existing": "enforce"}, ("acts on older machines by itself", "onboard status")),
    ],
)
def test_a_policy_without_machines_to_take_up_is_refused_with_what_to_do(
    changes: dict[str, Any], says: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(tmp_path, capsys, {**POLICY, **changes}, NAME, "--dry-run")
    for text in says:
        assert text in error


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], policy: dict[str, Any], *given: str) -> str:
    (folder / "policy.yaml").write_text(json.dumps(policy))
    values = {"ONBOARDING_POLICIES": str(folder), "OMS_WORKSPACE_ID": WORKSPACE_ID, "OMS_WORKSPACE_KEY": WORKSPACE_KEY}
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"Values": values}))
    assert main(["enforce", *given, "--settings", str(settings)]) == 2
    return capsys.readouterr().err


def test_an_unknown_policy_and_a_run_that_nobody_can_confirm_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(tmp_path, capsys, POLICY, "linux-monitorin")
    assert "unknown policy 'linux-monitorin' (POLICY); known policies: linux-monitoring" in error
    assert "give --yes" in refusal(tmp_path, capsys, POLICY, NAME)
