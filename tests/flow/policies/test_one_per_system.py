"""A policy that names one extension for each operating system."""

from __future__ import annotations

import re
from copy import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.application.ports import StoredRow
from onboarding.application.preview import forecast
from onboarding.application.rules import Rules
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId
from onboarding.loading.policy_extensions import with_extensions
from tests.flow.world import BIONIC, CATALOGUE, LedgerInMemory, World, extension, vm_body
from tests.reference import REFERENCE, parse_policy

EXTENSIONS_PAGE = (Path(__file__).parents[3] / "docs" / "extensions.md").read_text("utf-8")
LINUX, WINDOWS, OPEN = "azure-monitor-agent-linux", "azure-monitor-agent-windows", "policy:azure-monitor"
POLICY: dict[str, Any] = {"name": "azure-monitor", "extension": [LINUX, WINDOWS]}
SERVER = {
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2022-datacenter",
    "version": "latest",
}
SLOW = Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "60"})
FORBIDDEN = Evidence(http_status=403, code="AuthorizationFailed", message="does not have authorization to perform")
UNAVAILABLE = Evidence(http_status=503, code="ServiceUnavailable", message="try again")


def world_of(policy: dict[str, Any] | None = None, *others: dict[str, Any]) -> World:
    return World(policies=[{**POLICY, **(policy or {})}, *others], app_settings={})


def linux(world: World, name: str = "web01", **changes: Any) -> VmId:
    return world.add(name, image=BIONIC, **changes)


def windows(world: World, name: str = "win01", **changes: Any) -> VmId:
    profile = {"windowsConfiguration": {"provisionVMAgent": True}}
    return world.add(name, image=SERVER, os_type="Windows", os_profile=profile, **changes)


async def test_the_page_s_policy_for_both_systems_gives_one_row_where_a_policy_for_each_gives_two() -> None:
    texts = re.findall(r"^```yaml\n(.*?)^```$", EXTENSIONS_PAGE, re.DOTALL | re.MULTILINE)
    (both,) = [policy for policy in map(yaml.safe_load, texts) if isinstance(policy.get("extension"), list)]
    of_linux, of_windows = both["extension"]
    each = [{**both, "name": name, "extension": name} for name in (of_linux, of_windows)]
    settings = {"DATADOG_API_KEY": "made-up"}
    together, apart = World(policies=[both], app_settings=settings), World(policies=each, app_settings=settings)
    for world, beside in ((together, {}), (apart, {of_windows: Outcome.OUT_OF_SCOPE})):
        vm = linux(world)
        await world.created(vm)
        assert outcomes_of(world, vm) == {of_linux: Outcome.REQUESTED, **beside}


async def unread_pair(world: World) -> tuple[VmId, VmId]:
    """A machine of each system that was just created, and that ARM did not let us read."""
    web, win = linux(world), windows(world)
    world.arm.read_errors = [SLOW, SLOW]
    await world.created(web)
    await world.created(win)
    return web, win


def unknown(world: World, name: str = "odd01", **changes: Any) -> VmId:
    return world.add(name, image={}, os_type="", os_profile={}, **changes)


def rows_of(world: World, vm: VmId) -> dict[str, Row]:
    return {target: stored.row for (key, target), stored in world.ledger.rows.items() if key == vm.key}


def outcomes_of(world: World, vm: VmId) -> dict[str, Outcome]:
    return {target: row.outcome for target, row in rows_of(world, vm).items()}


def host_with(policy: dict[str, Any], world: World) -> World:
    """A host with another version of the policy, later."""
    host = world.with_policies([policy])
    host.now += timedelta(minutes=5)
    return host


async def run_check(world: World) -> None:
    assert await world.run_next_check()


async def test_each_machine_gets_the_extension_of_its_system_and_no_row_of_the_other() -> None:
    world = world_of()
    web, win = linux(world), windows(world)
    await world.created(web)
    await world.created(win)
    assert outcomes_of(world, web) == {LINUX: Outcome.REQUESTED}
    assert outcomes_of(world, win) == {WINDOWS: Outcome.REQUESTED}
    assert [body["properties"]["type"] for body in world.arm.bodies] == [
        "AzureMonitorLinuxAgent",
        "AzureMonitorWindowsAgent",
    ]
    await world.finish_install(web, LINUX)
    await world.finish_install(win, WINDOWS)
    assert outcomes_of(world, web) == {LINUX: Outcome.INSTALLED}
    assert outcomes_of(world, win) == {WINDOWS: Outcome.INSTALLED}
    assert world.arm.calls == ["GET", "PUT", "GET", "PUT", "GET extension", "GET extension"]


@pytest.mark.parametrize("error", [SLOW, FORBIDDEN, UNAVAILABLE], ids=["throttled", "forbidden", "unavailable"])
async def test_an_unread_machine_has_one_row_that_is_moved_when_it_is_read(error: Evidence) -> None:
    world = world_of()
    web, win = linux(world), windows(world)
    world.arm.read_errors = [error, error]
    await world.created(web)
    await world.created(win)
    before = {vm.name: rows_of(world, vm)[OPEN] for vm in (web, win)}
    assert outcomes_of(world, web) == outcomes_of(world, win) == {OPEN: Outcome.WAITING}
    assert before["web01"].policy == "azure-monitor"
    while OPEN in rows_of(world, web):
        await run_check(world)
    assert outcomes_of(world, web) == {LINUX: Outcome.REQUESTED}
    await world.finish_install(web, LINUX)
    while OPEN in rows_of(world, win):
        await run_check(world)
    assert outcomes_of(world, win) == {WINDOWS: Outcome.REQUESTED}
    for row, old in ((world.row(web, LINUX), before["web01"]), (world.row(win, WINDOWS), before["win01"])):
        assert (row.event_id, row.event_time) == (old.event_id, old.event_time), "its episode goes on"
    assert not world.breakers.stored, "a read that succeeds shows that machines can be read"
    await world.finish_install(win, WINDOWS)
    assert outcomes_of(world, web) == {LINUX: Outcome.INSTALLED}
    assert outcomes_of(world, win) == {WINDOWS: Outcome.INSTALLED}


async def test_a_row_that_waits_for_the_breaker_of_unread_machines_costs_no_read() -> None:
    world = world_of()
    web, win = linux(world), windows(world)
    world.arm.read_errors = [FORBIDDEN, FORBIDDEN]
    await world.created(web)
    await world.created(win)
    assert [rows_of(world, vm)[OPEN].waiting_for for vm in (web, win)] == [WaitingFor.SCOPE_BREAKER] * 2
    assert {key[2] for key in world.breakers.stored} == {OPEN}
    world.now += timedelta(minutes=1)
    await world.updated(web)
    await world.updated(win)
    assert world.arm.calls == ["GET", "GET"], "only a probe reads"
    assert await world.run_next_check()
    assert outcomes_of(world, web) == {LINUX: Outcome.REQUESTED}
    assert world.breakers.stored == {}
    await world.updated(win)
    assert outcomes_of(world, win) == {WINDOWS: Outcome.REQUESTED}


async def test_a_machine_with_a_row_keeps_it_while_it_cannot_be_read() -> None:
    world = world_of()
    vm = linux(world, power="deallocated")
    await world.created(vm)
    assert outcomes_of(world, vm) == {LINUX: Outcome.WAITING}
    world.arm.read_errors = [SLOW]
    await world.updated(vm)
    assert outcomes_of(world, vm) == {LINUX: Outcome.WAITING}
    assert world.row(vm, LINUX).waiting_for is WaitingFor.THROTTLING


async def test_an_unknown_system_waits_for_the_agent_which_names_it() -> None:
    world = world_of()
    one, two = unknown(world, "odd01", agent="not_ready"), unknown(world, "odd02", agent="not_ready")
    await world.created(one)
    await world.created(two)
    assert [rows_of(world, vm)[OPEN].waiting_for for vm in (one, two)] == [WaitingFor.AGENT_READY] * 2
    ready = {"agent": "ready", "image": {}, "os_type": "", "os_profile": {}}
    world.arm.machines[one.key] = vm_body("odd01", **ready, osName="ubuntu", osVersion="22.04")
    name = "Windows Server 2022 Datacenter"
    world.arm.machines[two.key] = vm_body("odd02", **ready, osName=name, osVersion="10.0.20348.2340")
    await run_check(world)
    await run_check(world)
    assert outcomes_of(world, one) == {LINUX: Outcome.REQUESTED}
    assert outcomes_of(world, two) == {WINDOWS: Outcome.REQUESTED}


async def test_a_system_that_stays_unknown_ends_as_undetermined_and_is_never_forced() -> None:
    world = world_of({"identity": {"use": "any", "add": "system"}})
    vm = unknown(world)
    await world.created(vm)
    row = rows_of(world, vm)[OPEN]
    assert (row.outcome, row.policy, row.waiting_for) == (Outcome.UNDETERMINED, "azure-monitor", None)
    assert "operating system" in row.reason
    assert world.published.rows == [row]
    await world.requests.handle(vm, OperatorRequest(force=True))
    assert outcomes_of(world, vm) == {OPEN: Outcome.UNDETERMINED}
    assert (world.arm.bodies, world.arm.patches) == ([], [])


async def test_a_stopped_machine_of_an_unknown_system_waits_and_asks_for_no_identity() -> None:
    world = world_of({"identity": {"use": "any", "add": "system"}})
    vm = unknown(world, power="deallocated")
    await world.created(vm)
    row = rows_of(world, vm)[OPEN]
    assert (row.outcome, row.waiting_for, row.step) == (Outcome.WAITING, WaitingFor.VM_RUNNING, "")
    assert world.arm.calls == ["GET"]


async def test_a_final_row_of_an_unknown_system_is_moved_when_the_sweep_lists_the_system() -> None:
    world = world_of()
    one, two = unknown(world, "odd01"), unknown(world, "odd02")
    await world.created(one)
    await world.created(two)
    assert outcomes_of(world, one) == outcomes_of(world, two) == {OPEN: Outcome.UNDETERMINED}
    world.now += timedelta(days=1)
    await world.sweep_and_reconcile()
    assert world.arm.calls.count("GET") == 2, "nothing is known that was not known before"
    linux(world, "odd01", vm_id="id-of-odd01")
    windows(world, "odd02", vm_id="id-of-odd02")
    entry = CATALOGUE[WINDOWS]
    world.arm.set_extension(two, extension("Agent", publisher=entry.publisher, type=entry.type))
    world.now += timedelta(days=1)
    await world.sweep_and_reconcile()
    assert outcomes_of(world, one) == {LINUX: Outcome.REQUESTED}
    assert outcomes_of(world, two) == {WINDOWS: Outcome.ALREADY_INSTALLED}


async def test_the_sweep_finds_a_machine_of_an_unknown_system_that_no_event_announced() -> None:
    world = world_of()
    vm = unknown(world)
    world.now += timedelta(days=1)
    await world.sweep_and_reconcile()
    assert outcomes_of(world, vm) == {OPEN: Outcome.UNDETERMINED}


async def test_a_machine_that_is_back_under_its_name_with_an_unknown_system_is_found_again() -> None:
    world = world_of()
    vm = unknown(world)
    await world.created(vm)
    await world.deleted(vm)
    assert outcomes_of(world, vm) == {OPEN: Outcome.GONE}
    unknown(world, vm_id="another")
    world.now += timedelta(days=1)
    await world.sweep_and_reconcile()
    assert outcomes_of(world, vm) == {OPEN: Outcome.UNDETERMINED}


async def test_a_machine_whose_system_is_not_named_any_more_keeps_its_row() -> None:
    world = world_of()
    web, win = linux(world, power="deallocated"), windows(world, power="deallocated")
    await world.created(web)
    await world.created(win)
    for vm, name in ((web, "web01"), (win, "win01")):
        unknown(world, name, power="deallocated")
        await world.updated(vm)
    world.now += timedelta(days=2)
    await world.sweep_and_reconcile()
    assert outcomes_of(world, web) == {LINUX: Outcome.WAITING}
    assert outcomes_of(world, win) == {WINDOWS: Outcome.WAITING}


async def test_a_machine_of_the_other_system_under_an_old_name_ends_the_old_row() -> None:
    world = world_of()
    vm = linux(world, "app01")
    await world.created(vm)
    await world.finish_install(vm, LINUX)
    windows(world, "app01", vm_id="another")
    await world.created(vm)
    assert outcomes_of(world, vm) == {LINUX: Outcome.OUT_OF_SCOPE, WINDOWS: Outcome.REQUESTED}
    gone = [row for row in world.ledger.log.values() if row.outcome is Outcome.GONE]
    assert [row.extension for row in gone] == [LINUX]


async def test_a_redelivered_event_reads_nothing_again() -> None:
    world = world_of()
    web, win = linux(world), windows(world)
    first, second = world.trigger(), world.trigger()
    world.arm.read_errors = [SLOW]
    for _ in range(2):
        await world.created(web, first)
        await world.created(win, second)
    assert outcomes_of(world, web) == {OPEN: Outcome.WAITING}
    assert outcomes_of(world, win) == {WINDOWS: Outcome.REQUESTED}
    assert world.arm.calls == ["GET", "GET", "PUT"]


class _Failing(LedgerInMemory):
    """A ledger that does something at the next writes, before or after they are carried out."""

    def __init__(self) -> None:
        super().__init__()
        self.before_commit: list[Any] = []
        self.after_commit: list[Any] = []

    async def commit(self, *args: Any, **kwargs: Any) -> Any:
        if self.before_commit:
            self.before_commit.pop(0)()
        written = await super().commit(*args, **kwargs)
        if self.after_commit:
            self.after_commit.pop(0)()
        return written


async def test_a_worker_that_loses_the_race_of_a_move_goes_on_from_the_winners_rows() -> None:
    ledger = _Failing()
    world = replace(world_of(), ledger=ledger)
    web, win = await unread_pair(world)

    def lose() -> None:
        raise LostRace("another worker wrote first")

    world.now += timedelta(minutes=5)
    ledger.before_commit = [lose]
    await world.updated(web)
    ledger.before_commit = [lose]
    await world.updated(win)
    assert outcomes_of(world, web) == {LINUX: Outcome.REQUESTED}
    assert outcomes_of(world, win) == {WINDOWS: Outcome.REQUESTED}
    assert world.arm.calls.count("PUT") == 2


async def test_two_workers_that_move_one_row_send_one_request() -> None:
    ledger = _Failing()
    world = replace(world_of(), ledger=ledger)
    vm = linux(world)
    world.arm.read_errors = [SLOW]
    await world.created(vm)
    stale = await ledger.read(vm)
    world.now += timedelta(minutes=5)
    await world.updated(vm)
    assert outcomes_of(world, vm) == {LINUX: Outcome.REQUESTED}
    fresh, ledger.read = ledger.read, _once(ledger, stale)  # type: ignore[method-assign]
    await world.updated(vm)
    assert ledger.read == fresh
    assert outcomes_of(world, vm) == {LINUX: Outcome.REQUESTED}
    assert world.arm.calls.count("PUT") == 1


def _once(ledger: LedgerInMemory, rows: Any) -> Any:
    original = ledger.read

    async def read(vm: VmId, *, new: bool = False) -> Any:
        ledger.read = original  # type: ignore[method-assign]
        return rows

    return read


async def test_a_worker_that_dies_after_the_move_leaves_a_claim_that_its_check_ends() -> None:
    ledger = _Failing()
    world = replace(world_of(), ledger=ledger)
    web, win = await unread_pair(world)

    def die() -> None:
        raise StorageError("no answer came")

    world.now += timedelta(minutes=5)
    for vm, target in ((web, LINUX), (win, WINDOWS)):
        ledger.after_commit = [die]
        with pytest.raises(StorageError):
            await world.updated(vm)
        assert rows_of(world, vm)[target].waiting_for is WaitingFor.CLAIM
        assert OPEN not in rows_of(world, vm)
    while world.arm.calls.count("PUT") < 2:
        await run_check(world)
    assert outcomes_of(world, web) == {LINUX: Outcome.REQUESTED}
    assert outcomes_of(world, win) == {WINDOWS: Outcome.REQUESTED}


async def test_a_worker_that_dies_at_the_move_leaves_the_old_row_and_its_event_moves_it() -> None:
    ledger = _Failing()
    world = replace(world_of(), ledger=ledger)
    vm = linux(world)
    world.arm.read_errors = [SLOW]
    await world.created(vm)

    def die() -> None:
        raise StorageError("the table could not be reached")

    world.now += timedelta(minutes=5)
    event = world.trigger()
    ledger.before_commit = [die]
    with pytest.raises(StorageError):
        await world.created(vm, event)
    assert outcomes_of(world, vm) == {OPEN: Outcome.WAITING}
    await world.created(vm, event)
    assert outcomes_of(world, vm) == {LINUX: Outcome.REQUESTED}
    assert world.arm.calls.count("PUT") == 1


async def test_a_row_that_is_there_already_stays_and_the_other_one_is_deleted() -> None:
    world = world_of()
    vm = linux(world)
    await world.created(vm)
    await world.finish_install(vm, LINUX)
    installed = world.row(vm, LINUX)
    left = replace(installed, extension=OPEN, outcome=Outcome.UNDETERMINED)
    world.ledger.rows[vm.key, OPEN] = StoredRow(left, "old")
    world.now += timedelta(minutes=5)
    await world.updated(vm)
    assert rows_of(world, vm) == {LINUX: installed}


async def test_a_row_that_is_unreadable_is_replaced_by_the_moved_one() -> None:
    world = world_of()
    vm = linux(world)
    world.arm.read_errors = [SLOW]
    await world.created(vm)
    world.ledger.unreadable[vm.key, LINUX] = "of a newer version"
    world.now += timedelta(minutes=5)
    await world.updated(vm)
    assert outcomes_of(world, vm) == {LINUX: Outcome.REQUESTED}
    assert world.ledger.unreadable == {}


async def test_a_refused_install_gives_the_moved_row_its_answer() -> None:
    world = world_of()
    vm = linux(world)
    world.arm.read_errors = [SLOW]
    await world.created(vm)
    world.arm.install_errors = [SLOW]
    world.now += timedelta(minutes=5)
    await world.updated(vm)
    assert outcomes_of(world, vm) == {LINUX: Outcome.WAITING}
    while rows_of(world, vm)[LINUX].outcome is Outcome.WAITING:
        await run_check(world)
    await world.finish_install(vm, LINUX)
    assert outcomes_of(world, vm) == {LINUX: Outcome.INSTALLED}


async def test_identity_and_associations_follow_once_the_system_is_known() -> None:
    rule = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/dataCollectionRules/all"
    world = world_of({"identity": {"use": "any", "add": "system"}, "dataCollectionRules": rule})
    web, win = await unread_pair(world)
    assert world.arm.calls == ["GET", "GET"], "nothing is written to a machine that was not read"
    world.now += timedelta(minutes=5)
    for vm, target in ((web, LINUX), (win, WINDOWS)):
        await world.updated(vm)
        assert rows_of(world, vm)[target].waiting_for is WaitingFor.IDENTITY
        world.arm.end_patch(vm)
        world.now += timedelta(seconds=6)
        await world.updated(vm)
        await world.finish_install(vm, target)
        assert outcomes_of(world, vm) == {target: Outcome.INSTALLED}
        assert len(world.arm.associations[vm.key]) == 1


async def test_the_first_of_two_policies_takes_the_rows_of_both() -> None:
    world = world_of(None, {"name": "later", "extension": [WINDOWS, LINUX], "settings": {}})
    web, win = await unread_pair(world)
    assert set(rows_of(world, web)) == set(rows_of(world, win)) == {OPEN, "policy:later"}
    world.now += timedelta(minutes=5)
    await world.updated(web)
    await world.updated(win)
    assert {name: row.policy for name, row in rows_of(world, web).items()} == {LINUX: "azure-monitor"}
    assert {name: row.policy for name, row in rows_of(world, win).items()} == {WINDOWS: "azure-monitor"}


async def test_of_two_policies_the_row_that_waits_is_the_one_that_goes_on() -> None:
    elsewhere = "/subscriptions/99999999-0000-4000-8000-000000000000"
    world = world_of({"name": "aside", "scope": [elsewhere]}, {**POLICY, "settings": {}})
    vm = unknown(world, agent="not_ready")
    await world.created(vm)
    assert outcomes_of(world, vm) == {OPEN: Outcome.WAITING, "policy:aside": Outcome.OUT_OF_SCOPE}
    ready = {"agent": "ready", "image": {}, "os_type": "", "os_profile": {}}
    world.arm.machines[vm.key] = vm_body(vm.name, **ready, osName="ubuntu", osVersion="22.04")
    await run_check(world)
    assert outcomes_of(world, vm) == {LINUX: Outcome.REQUESTED}


async def test_an_open_row_ends_where_it_is_once_the_policy_is_for_one_system() -> None:
    world = world_of()
    web, win = await unread_pair(world)
    later = host_with({**POLICY, "extension": LINUX}, world)
    await later.updated(web)
    await later.updated(win)
    assert outcomes_of(world, web) == {OPEN: Outcome.OUT_OF_SCOPE, LINUX: Outcome.REQUESTED}
    assert outcomes_of(world, win) == {OPEN: Outcome.OUT_OF_SCOPE}
    back = host_with(POLICY, later)
    await back.updated(win)
    assert outcomes_of(world, win) == {WINDOWS: Outcome.REQUESTED}, "a final row is moved too"


async def test_a_disabled_policy_ends_the_open_row() -> None:
    world = world_of()
    web, win = await unread_pair(world)
    off = host_with({**POLICY, "effect": "disabled"}, world)
    for vm in (web, win):
        await off.updated(vm)
        row = rows_of(world, vm)[OPEN]
        assert (row.outcome, row.reason) == (Outcome.OUT_OF_SCOPE, "policy azure-monitor is disabled")


async def test_one_rollout_limit_counts_the_installs_of_both_systems() -> None:
    world = world_of({"brake": {"maxInstallsPerHour": 1}})
    web, win = linux(world), windows(world)
    await world.created(web)
    await world.created(win)
    assert outcomes_of(world, web) == {LINUX: Outcome.REQUESTED}
    assert rows_of(world, win)[WINDOWS].waiting_for is WaitingFor.ROLLOUT_LIMIT


async def test_both_systems_share_one_policy_state() -> None:
    world = world_of()
    linux(world)
    windows(world)
    await world.sweep_and_reconcile()
    assert set(world.policy_states.stored) == {"azure-monitor"}


def _rules() -> Rules:
    policy = with_extensions(parse_policy(POLICY, "ama.yaml", compile_rule), "ama.yaml", CATALOGUE, {})
    return Rules(PolicySet((policy,)), CATALOGUE, {}, REFERENCE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (vm_body(image=BIONIC), {LINUX: "Install"}),
        (vm_body(image=SERVER, os_type="Windows", os_profile={}), {WINDOWS: "Install"}),
        (vm_body(image={}, os_type="", os_profile={}), {OPEN: "Undetermined"}),
    ],
    ids=["Linux", "Windows", "unknown"],
)
def test_a_preview_shows_the_machines_own_extension(body: dict[str, Any], expected: dict[str, str]) -> None:
    found = forecast(_rules(), read_facts(body), World().now)
    assert {each.policy.extension: each.word for each in found} == expected
