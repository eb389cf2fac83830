"""The storm with five extensions: what it wants on each machine, that one extension needs another, and its secrets."""

from __future__ import annotations

import subprocess
import sys
from copy import replace
from pathlib import Path
from typing import Any

import pytest

from onboarding.loading.policy_folder import load_catalogue_of, load_policies
from simulator.arm import Agent, ArmSimulator, Attempt, ExtensionSpec, Guest, HandlerRun, Options, VmSpec
from simulator.clock import ManualClock
from simulator.demo.fleet import Expectation, Member, Story
from simulator.demo.ledger import Row
from simulator.demo.own_policies import secret_settings
from simulator.laptop import ROOT, SUBSCRIPTIONS
from simulator.storm.evidence import unmet
from simulator.storm.fleet import make_storm_fleet
from simulator.storm.groups import TAG, Group
from simulator.storm.invariant import WAITS_FOR_NEEDED, ExpectedRow, judge, row_is_right
from simulator.storm.targets import (
    AMA,
    ASSETS,
    INVENTORY,
    NEEDS,
    OMS,
    OWN,
    PLUGIN,
    SECRETS,
    SHIPPER,
    Target,
    copy_policies,
    expected,
    wanted,
)
from tests.simulator.test_storm_invariant import VM, WHOLE, broken, row

XENIAL = Guest(os_name="ubuntu", os_version="16.04")
SERVER = Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1")
EARLY = "extension was requested before the one that it needs had succeeded"
FAILS: dict[str, Any] = {"runs": (HandlerRun(exit_code=7),), "runs_of": INVENTORY.handler}


def member(outcome: str = "Installed", error: str = "", group: Group = Group.MIGRATING, **spec: Any) -> Member:
    spec = {"guest": XENIAL, **spec}
    return Member("web", VmSpec(name="web", tags={TAG: group}, **spec), Story.NONE, Expectation(outcome, error))


def own(each: Member) -> dict[str, str]:
    found = {target.extension: expected(each, target) for target in OWN[5]}
    return {name: f"{must.outcome} {must.error}".rstrip() for name, must in found.items()}


def rows_of(inventory: str, plugin: str, shipper: str, assets: str) -> dict[str, str]:
    names = (target.extension for target in (INVENTORY, PLUGIN, SHIPPER, ASSETS))
    return dict(zip(names, (inventory, plugin, shipper, assets), strict=True))


@pytest.mark.parametrize("group", [Group.OLD, Group.NEW, Group.MIGRATING, Group.BOTH])
def test_every_machine_gets_the_extensions_for_its_system(group: Group) -> None:
    linux, windows = member(group=group), member("OutOfScope", group=group, guest=SERVER, os_type="Windows")
    assert own(linux) == rows_of("Installed", "Installed", "Installed", "OutOfScope")
    assert own(windows) == rows_of("OutOfScope", "OutOfScope", "OutOfScope", "Installed")


def test_a_machine_that_migrates_has_a_row_for_five_extensions_of_its_system() -> None:
    assert list(wanted(member())) == [OMS, AMA, INVENTORY]
    assert list(wanted(member(), extensions=5)) == [OMS, AMA, INVENTORY, PLUGIN, SHIPPER, ASSETS]


def test_where_nobody_says_the_system_none_of_them_is_decided() -> None:
    mute = member("Undetermined", os_type="", guest=Guest(agent=Agent.NAMELESS))
    assert set(own(mute).values()) == {"Undetermined"}


def test_what_holds_of_the_whole_machine_holds_of_each() -> None:
    assert set(own(member("Gone")).values()) == {"Gone"}
    assert set(own(member("OutOfScope")).values()) == {"OutOfScope"}
    sealed = member("Failed", "disallowed", allow_extension_operations=False)
    assert own(sealed) == rows_of("Failed disallowed", "Failed disallowed", "Failed disallowed", "OutOfScope")


def test_one_waits_for_ever_where_the_one_that_it_needs_fails_for_good() -> None:
    assert own(member(**FAILS)) == rows_of("Failed 7", "Waiting", "Installed", "OutOfScope")
    of_another = member(**{**FAILS, "runs_of": OMS.handler})
    assert own(of_another) == rows_of("Installed", "Installed", "Installed", "OutOfScope")


def plugin_row(outcome: str, waiting_for: str = "") -> Row:
    return row(PLUGIN.extension, outcome, WaitingFor=waiting_for)


def test_it_may_wait_for_the_one_that_it_needs_there_and_nowhere_else() -> None:
    installed = ExpectedRow(VM, "web", PLUGIN.extension, "Installed", waits_for=WAITS_FOR_NEEDED)
    waits = plugin_row("Waiting", "needed-extension")
    assert not row_is_right(installed, waits)
    assert row_is_right(replace(installed, may_wait=True), waits)
    for_ever = replace(installed, outcome="Waiting")
    assert row_is_right(for_ever, waits)
    assert row_is_right(for_ever, plugin_row("Waiting", "throttling")), "its check met a fault"
    assert not row_is_right(for_ever, plugin_row("Waiting", "only-after"))
    assert not row_is_right(for_ever, plugin_row("Waiting", "vm-running"))
    assert not row_is_right(for_ever, plugin_row("Installed"))
    removal = ExpectedRow(VM, "web", OMS.extension, "Waiting")
    assert not row_is_right(removal, row(OMS.extension, "Waiting", WaitingFor="needed-extension"))


@pytest.mark.parametrize("succeeded", [frozenset(), frozenset({SHIPPER.handler})])
def test_a_request_before_the_needed_extension_has_succeeded_is_found(succeeded: frozenset[str]) -> None:
    sent = Attempt(VM, PLUGIN.handler, "us", "", "", succeeded)
    says = f"web got a request for {PLUGIN.handler} before {INVENTORY.handler} had succeeded"
    assert broken(replace(WHOLE, attempts=[sent])) == {EARLY: [says]}


def test_a_request_after_that_or_for_another_extension_is_none() -> None:
    after = Attempt(VM, PLUGIN.handler, "us", "", "", frozenset({INVENTORY.handler}))
    others = [Attempt(VM, target.handler, "us", "", "") for target in (INVENTORY, SHIPPER, AMA)]
    assert broken(replace(WHOLE, attempts=[after, *others])) == {}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("place", ["storage", "host's log", "outcome events"])
def test_each_secret_is_found_in_each_place(name: str, place: str) -> None:
    texts = {"storage": "a", "host's log": "b", "outcome events": "c"}
    state = replace(WHOLE, secrets=SECRETS, texts=texts)
    assert broken(state) == {}
    last = judge(replace(state, texts={**texts, place: f"key={SECRETS[name]};"}))[-1]
    assert [violation.says for violation in last.violations] == [f"the {name} is in the {place}"]


@pytest.fixture
def arm() -> ArmSimulator:
    return ArmSimulator(ManualClock(), seed=1, options=Options(generic_handlers=("contoso.*",)))


def there(target: Target, state: str = "Succeeded") -> ExtensionSpec:
    publisher, _, type_ = target.handler.rpartition(".")
    failed = HandlerRun(exit_code=7) if state == "Failed" else None
    return ExtensionSpec(name=target.resource, publisher=publisher, type=type_, version="2.1", failed_with=failed)


def found(arm: ArmSimulator, name: str, outcome: str, *extensions: ExtensionSpec) -> set[tuple[str, str]]:
    vm = arm.add_vm(VmSpec(name=name, extensions=extensions)).key
    return unmet(arm, [replaced(vm, INVENTORY, outcome), replaced(vm, SHIPPER, "Failed")])


def replaced(vm: str, target: Target, outcome: str) -> Row:
    return Row({**row(target.extension, outcome).columns, "ResourceId": vm})


async def test_only_what_failed_and_is_not_there_lets_another_wait(arm: ArmSimulator) -> None:
    assert [extension for _, extension in found(arm, "gone", "Failed")] == [PLUGIN.extension]
    assert [name for _, name in found(arm, "failed", "Failed", there(INVENTORY, "Failed"))] == [PLUGIN.extension]
    assert found(arm, "healthy", "Failed", there(INVENTORY)) == set(), "its event continues the other row"
    assert found(arm, "waiting", "Waiting") == set()
    assert found(arm, "installed", "Installed", there(INVENTORY)) == set()


async def test_each_request_is_recorded_with_what_had_succeeded(arm: ArmSimulator) -> None:
    machine = arm.add_vm(VmSpec(name="web", extensions=(there(INVENTORY), there(SHIPPER, "Failed"))))
    arm.put_extension_as_other_deployer(machine.id, there(PLUGIN))
    assert [each.succeeded for each in arm.attempts] == [{INVENTORY.handler}]


@pytest.mark.parametrize("size", [24, 60, 200])
def test_on_some_machines_of_the_fleet_the_needed_extension_fails_and_quotes_its_secret(size: int) -> None:
    fleet, usual = (make_storm_fleet(size, 1, tuple(SUBSCRIPTIONS), extensions=count) for count in (5, 3))
    assert [each.id for each in fleet] == [each.id for each in usual]
    assert {expected(each, PLUGIN).outcome for each in usual} == {
        "Installed",
        "OutOfScope",
        "Undetermined",
        "Failed",
        "Gone",
    }
    waiting = [each for each in fleet if expected(each, PLUGIN).outcome == "Waiting"]
    assert 0.05 * size <= len(waiting) <= 0.1 * size
    assert all(SECRETS["INVENTORY_TOKEN"] in run.text for each in waiting for run in each.spec.runs)
    assert sum(a != b for a, b in zip(fleet, usual, strict=True)) == len(waiting)
    for target in OWN[5]:
        assert sum(expected(each, target).outcome == "Installed" for each in fleet) >= 2


def test_the_folder_has_these_extensions_and_no_secret_that_is_not_searched_for(tmp_path: Path) -> None:
    folder = copy_policies(tmp_path / "policies")
    catalogue = load_catalogue_of(folder).entries
    policies, problems = load_policies(folder, catalogue)
    assert problems == ()
    assert {target.extension for target in OWN[5]} <= {name for each in policies.policies for name in each.extensions}
    for target in OWN[5]:
        entry = catalogue[target.extension]
        assert (entry.resource_name, f"{entry.publisher}.{entry.type}") == (target.resource, target.handler)
        needed = NEEDS.get(target)
        assert entry.needs.extensions == ((needed.extension,) if needed else ())
    assert secret_settings(folder) == {"OMS_WORKSPACE_KEY", *SECRETS}


def test_a_storm_of_two_versions_has_three_extensions() -> None:
    command = [sys.executable, "-m", "simulator", "storm", "--extensions", "5", "--beside", "HEAD"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "argument --extensions: 5 is not for --beside" in ended.stderr
