"""The storm's invariant over two extensions: each violation is found, and for the right extension."""

from __future__ import annotations

import json
from copy import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from simulator.arm import Agent, Attempt, Breakage, Collision, Guest, VmSpec
from simulator.demo.fleet import Expectation, Member, Story
from simulator.demo.ledger import Row, is_row
from simulator.demo.report import WIDTH
from simulator.storm.fleet import make_storm_fleet
from simulator.storm.gaps import SortedGaps
from simulator.storm.invariant import ExpectedRow, FinalState, Finding, Handled, Violation, judge, row_is_right
from simulator.storm.report import Report, Reports
from simulator.storm.storage import ScheduledCheckText, check_of
from simulator.storm.targets import AMA, AMA_WINDOWS, BESIDE, INVENTORY, OMS, PLUGIN, expected, wanted

VM = "/subscriptions/s/resourcegroups/g/providers/microsoft.compute/virtualmachines/web"
DUE = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
WORK = Handled(events=3, messages=2, sweeps=1, calls=4, failed=0)
FIRST, SECOND = OMS.extension, AMA.extension


def row(extension: str, outcome: str = "Installed", **columns: Any) -> Row:
    key = f"vm|g|web|{extension}"
    return Row(
        {"RowKey": key, "ResourceId": VM, "VmName": "web", "Extension": extension, "Outcome": outcome, **columns}
    )


def event(extension: str, outcome: str = "Installed") -> dict[str, Any]:
    return {
        "id": f"{extension}-{outcome}",
        "subject": VM.upper(),
        "data": {"Extension": extension, "Outcome": outcome},
    }


WHOLE = FinalState(
    expected_rows=[ExpectedRow(VM, "web", FIRST, "Installed"), ExpectedRow(VM, "web", SECOND, "Installed")],
    rows=[row(FIRST), row(SECOND)],
    machines=[],
    checks=[],
    attempts=[],
    needs={PLUGIN.handler: INVENTORY.handler},
    collisions=[],
    breakages=[],
    lacking={},
    silent={"the network is blocked": 1},
    others_breakages=1,
    refused=frozenset(),
    touched=frozenset(),
    gaps=SortedGaps(unseen={"the network is blocked": 1}, undone=1, by_others={"network": 2}),
    removed=[],
    despite_pause=[],
    outcome_events=[event(FIRST), event(SECOND)],
    interruptions=0,
    handled={"this": WORK, "5eed5ed": WORK},
    texts={},
    secrets={},
)
WAITING = replace(WHOLE, rows=[row(FIRST), row(SECOND, "Waiting", NextAttemptAt=DUE)])
SECOND_COLLIDES = Collision(VM, AMA.handler, "us", ("extensions/OMSExtension",), frozenset({"us"}))


def broken(final_state: FinalState) -> dict[str, list[str]]:
    """The violations by part, without those of rows that are not final."""
    return {
        finding.name.partition(" ")[2]: [violation.says for violation in finding.violations]
        for finding in judge(final_state)
        if not finding.ok
    }


def test_two_correct_extensions_of_one_vm_violate_nothing() -> None:
    assert broken(WHOLE) == {}


@pytest.mark.parametrize(
    ("change", "part", "says"),
    [
        ({"rows": [row(FIRST)]}, "VM has one correct final row for each policy", f"{SECOND} on web has no row"),
        (
            {"rows": [row(FIRST), row(SECOND), row(SECOND)]},
            "VM has one correct final row for each policy",
            f"{SECOND} on web has 2 rows",
        ),
        (
            {
                "rows": [row(FIRST), row(SECOND), row("third")],
                "outcome_events": [*WHOLE.outcome_events, event("third")],
            },
            "VM has one correct final row for each policy",
            "third on web has a row, but no policy wants it there",
        ),
        (
            {"shown": {"the page": {"Installed": 2}, "the daily totals": {"Installed": 1}}},
            "page, `status --totals` and daily totals have the numbers of the table",
            "the daily totals: {'Installed': 1}, and in the table {'Installed': 2}",
        ),
        (
            {"outcome_events": [event(FIRST)]},
            "outcome was published",
            f"no event was published for {SECOND} on web: Installed",
        ),
        (
            {"attempts": [Attempt(VM, AMA.handler, "us", "Creating", "")]},
            "second install was requested for a VM",
            f"web got a request for {AMA.handler}, which was Creating",
        ),
        (
            {"collisions": [SECOND_COLLIDES]},
            "VM had two of our writes under way",
            f"web got a request for {AMA.handler} while we had extensions/OMSExtension under way",
        ),
        (
            {"lacking": {(VM, SECOND): ["an identity that serves", "an association"]}},
            "row that says installed or removed has all that its policy wants",
            f"{SECOND} on web is Installed without an identity that serves, an association",
        ),
        (
            {"gaps": SortedGaps(wrong=[(VM, "no agent on web sends after our removal: no data")])},
            "machine lost its last agent that sends by us",
            "no agent on web sends after our removal: no data",
        ),
        (
            {"removed": [(VM, AMA.resource)]},
            "was removed but old agents of VMs that migrate",
            f"{AMA.resource} on web was removed by us, and no policy wants that",
        ),
        (
            {"despite_pause": [(VM, "PUT x was sent 31 s after the pause")]},
            "write was sent 30 seconds after a person's pause",
            "PUT x was sent 31 s after the pause",
        ),
        ({"refused": {"a/b/write", "a/b/read"}}, "shipped roles allow every operation", "a/b/read"),
        (
            {"breakages": [Breakage(VM, "shop", "us", "system", "")]},
            "application lost its token or got another's by us",
            "application shop on web had the token of system and has none after our write",
        ),
        *(
            (
                {"handled": {"this": WORK, "5eed5ed": replace(WORK, **{kind: 0})}},
                "version did its share",
                f"version 5eed5ed did no {kind}",
            )
            for kind in ("events", "messages", "sweeps", "calls")
        ),
    ],
)
def test_each_violation_is_found_for_its_extension(change: dict[str, Any], part: str, says: str) -> None:
    found = broken(replace(WHOLE, **change))
    assert list(found) == [part]
    assert found[part][0].startswith(says)


def test_where_every_event_is_lost_no_version_has_to_handle_one() -> None:
    idle = replace(WORK, events=0)
    assert broken(replace(WHOLE, handled={"this": idle, "5eed5ed": idle})) == {}


def test_an_agent_may_be_given_other_settings_if_somebody_changed_the_identities() -> None:
    again = replace(WHOLE, attempts=[Attempt(VM, AMA.handler, "us", "Succeeded", "")])
    assert list(broken(again)) == ["second install was requested for a VM"]
    assert broken(replace(again, touched={(VM, AMA.handler)})) == {}
    assert broken(replace(again, touched={(VM, OMS.handler)})) != {}


@pytest.mark.parametrize("cause", ["identity-lost", "contested"])
def test_what_is_left_to_a_person_is_right_only_where_somebody_gave_the_reason(cause: str) -> None:
    left = row(SECOND, "Failed", ErrorCode=cause, Cause=cause)
    because = ExpectedRow(VM, "web", SECOND, "Installed", may_end=frozenset({cause}))
    assert row_is_right(because, left)
    assert not row_is_right(ExpectedRow(VM, "web", SECOND, "Installed"), left)
    assert not row_is_right(because, row(SECOND, "Waiting", Cause=cause))


def test_a_removal_may_wait_where_what_it_comes_after_is_not_proved_and_nowhere_else() -> None:
    removed = ExpectedRow(VM, "web", FIRST, "Removed")
    waits = row(FIRST, "Waiting", WaitingFor="only-after")
    assert row_is_right(removed, row(FIRST, "Removed"))
    assert not row_is_right(removed, waits)
    assert row_is_right(replace(removed, may_wait=True), waits)
    assert not row_is_right(replace(removed, may_wait=True), row(FIRST, "Waiting", WaitingFor="vm-running"))
    stays = ExpectedRow(VM, "web", FIRST, "Waiting")
    assert row_is_right(stays, waits)
    assert not row_is_right(stays, row(FIRST, "Removed"))


WITH_A_CHECK = {
    "of the row": ([ScheduledCheckText(VM, SECOND, DUE)], []),
    "of the whole VM, at that time": ([ScheduledCheckText(VM, "", DUE)], []),
    "of the VM's own row, before": (
        [ScheduledCheckText(VM, "", DUE - timedelta(minutes=1))],
        [Row({"RowKey": "vm|g|web|", "ResourceId": VM, "NextAttemptAt": DUE - timedelta(minutes=1)})],
    ),
}
WITHOUT_A_CHECK = {
    "none": ([], []),
    "two": ([ScheduledCheckText(VM, SECOND, DUE), ScheduledCheckText(VM, SECOND, DUE)], []),
    "one of the row and one of the VM": ([ScheduledCheckText(VM, SECOND, DUE), ScheduledCheckText(VM, "", DUE)], []),
    "the other extension's": ([ScheduledCheckText(VM, FIRST, DUE)], []),
    "another time's": ([ScheduledCheckText(VM, SECOND, DUE - timedelta(minutes=1))], []),
    "of the VM's own row, too late": (
        [ScheduledCheckText(VM, "", DUE + timedelta(minutes=1))],
        [Row({"RowKey": "vm|g|web|", "ResourceId": VM, "NextAttemptAt": DUE + timedelta(minutes=1)})],
    ),
}


@pytest.mark.parametrize(("checks", "machines"), WITH_A_CHECK.values(), ids=WITH_A_CHECK)
def test_a_waiting_row_has_one_check(checks: list[ScheduledCheckText], machines: list[Row]) -> None:
    assert "waiting row has exactly one scheduled check" not in broken(
        replace(WAITING, checks=checks, machines=machines)
    )


@pytest.mark.parametrize(("checks", "machines"), WITHOUT_A_CHECK.values(), ids=WITHOUT_A_CHECK)
def test_a_waiting_row_without_exactly_one_check_is_found(
    checks: list[ScheduledCheckText], machines: list[Row]
) -> None:
    (says,) = broken(replace(WAITING, checks=checks, machines=machines))["waiting row has exactly one scheduled check"]
    assert says.startswith(f"{SECOND} on web is Waiting")


@pytest.mark.parametrize(
    ("key", "outcome", "known"),
    [
        ("vm|g|web|oms-agent-linux", "Installed", True),
        ("vm|g|web|oms-agent-linux", "Waiting", True),
        ("vm|g|web|oms-agent-linux", "Levitating", False),
        ("vm|g|web|oms-agent-linux", None, False),
        ("vm|g|web|", "Installed", False),
        ("vm|g|web|", None, False),
        ("vm|g|web", "Installed", False),
        ("vm|g|web|oms-agent-linux|identity", "Installed", False),
        ("arc|g|web|oms-agent-linux", "Installed", False),
        ("vmss|g|web|oms-agent-linux", "Installed", False),
        ("due|1", None, False),
        ("due|20261120|vm|g|web", "Waiting", False),
        ("unpublished|g|web|oms-agent-linux", "Installed", False),
        ("totals|2026-11-20", None, False),
    ],
)
def test_unknown_keys_and_outcomes_are_ignored(key: str, outcome: str | None, known: bool) -> None:
    assert is_row({"RowKey": key} | ({"Outcome": outcome} if outcome else {})) is known


@pytest.mark.parametrize(
    ("message", "extension"),
    [
        ({"extension": FIRST}, FIRST),
        ({}, ""),
        ({"extension": None, "newer": [1]}, ""),
        ({"extension": FIRST, "reason": "newer-message"}, None),
        ({"due": "soon"}, None),
        ({"due": None}, None),
        ({"vm": None}, None),
        ({"vm": {"id": VM}}, None),
    ],
)
def test_a_scheduled_check_is_read_from_a_message_of_any_version(message: Any, extension: str | None) -> None:
    text = json.dumps({"vm": VM.upper(), "due": DUE.isoformat(), **message})
    assert check_of(text) == (None if extension is None else ScheduledCheckText(VM, extension, DUE))


@pytest.mark.parametrize("text", ["", "{", "[]", '"vm"', "null", '{"machine": "m"}'])
def test_other_messages_are_no_scheduled_checks(text: str) -> None:
    assert check_of(text) is None


def member(outcome: str, error: str = "", **spec: Any) -> Member:
    return Member("web", VmSpec(name="web", **spec), Story.NONE, Expectation(outcome, error))


def test_the_expected_outcome_of_the_second_extension_follows_from_its_handler() -> None:
    xenial, trusty = Guest(os_name="ubuntu", os_version="16.04"), Guest(os_name="ubuntu", os_version="14.04")
    assert expected(member("Installed", guest=xenial), AMA).outcome == "Installed"
    assert expected(member("Installed", guest=trusty), AMA).outcome == "Unsupported"
    assert expected(member("Unsupported", guest=Guest(os_version="22.04")), AMA).outcome == "Installed"
    assert expected(member("Failed", "10", guest=xenial), AMA).outcome == "Installed"
    assert expected(member("AlreadyInstalled", guest=xenial), AMA).outcome == "Installed"
    sealed = member("Failed", "disallowed", guest=xenial, allow_extension_operations=False)
    assert expected(sealed, AMA).error == "disallowed"
    for outcome in ("OutOfScope", "Undetermined", "Gone"):
        assert expected(member(outcome, guest=xenial), AMA).outcome == outcome


def test_the_expected_outcomes_on_windows_follow_from_the_agent_for_windows() -> None:
    server = Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1")
    old = Guest(os_name="Windows Server 2008 R2", os_version="6.1.7601")
    for guest, outcome in ((server, "Installed"), (old, "Unsupported")):
        windows = member("OutOfScope", guest=guest, os_type="Windows")
        assert [target.extension for target in wanted(windows)] == [
            OMS.extension,
            AMA_WINDOWS.extension,
            INVENTORY.extension,
        ]
        found = [expected(windows, target).outcome for target in wanted(windows)]
        assert found == ["OutOfScope", outcome, "OutOfScope"]
    assert list(wanted(windows, steps=False)) == [OMS, AMA]


def test_where_nobody_says_the_system_the_row_is_that_of_the_policy() -> None:
    mute = member("Undetermined", os_type="", guest=Guest(agent=Agent.NAMELESS), subscription=BESIDE)
    rows = {target.extension: expected(mute, target).outcome for target in wanted(mute)}
    other = {"policy:new-agent": "OutOfScope"}
    assert (
        rows == dict.fromkeys((OMS.extension, "policy:new-agent-beside", INVENTORY.extension), "Undetermined") | other
    )


@pytest.mark.parametrize("size", [24, 60, 200])
def test_a_fleet_has_every_mix_of_extensions_and_agents_that_send_nothing(size: int) -> None:
    fleet = make_storm_fleet(size, 1, ("a", BESIDE))
    assert len({each.id for each in fleet}) == len(fleet) == size
    installed = {tuple(expected(each, target).outcome == "Installed" for target in (OMS, AMA)) for each in fleet}
    assert installed == {(True, False), (False, True), (False, False)}, "the groups are disjoint"
    assert {each.kind for each in fleet} >= {"server", "unsaid", "unsaid-server", "unsaid-mute"}
    assert {each.spec.runs_of for each in fleet if each.kind == "locked"} == {"Microsoft.*"}
    blocked = [each for each in fleet if each.spec.network_blocked or each.spec.old_endpoints_only]
    assert {expected(each, AMA).outcome for each in blocked} == {"Installed"}
    assert len(blocked) >= 0.05 * size


TITLES = ["VMs", "policies", "events", "twice", "lost", "kills", "sweeps", "ARM calls", "429", "seconds"]


def report(seconds: float = 61.5, *violations: Violation) -> Report:
    names = ("VMs", "policies", "events", "delivered twice", "lost", "hosts killed", "sweeps", "ARM calls")
    figures = {name: number for number, name in enumerate(names, 10)}
    more = {"throttled (429)": 99, "seconds until calm": 50.0, "seconds": seconds}
    lines = {VM: [row(FIRST, Reason="because")]}
    return Report(
        {**figures, **more}, {}, {}, {}, SortedGaps(), {"this": WORK}, [Finding("all is well", violations)], lines
    )


def test_several_storms_are_one_table_followed_by_the_violations() -> None:
    reports = Reports({4: report(), 7: report(62.5, Violation(VM, "web is not well"), Violation(VM, "nor is it"))})
    text = reports.as_text(Console(file=StringIO(), width=WIDTH))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert lines[0] == ["", "seed", *TITLES, "violations"]
    assert lines[1] == ["✓", "4", "10", "11", "12", "13", "14", "15", "16", "17", "99", "61.5", "0"]
    assert lines[2] == ["✗", "7", "10", "11", "12", "13", "14", "15", "16", "17", "99", "62.5", "2"]
    below = text[text.index("seed 7") :]
    assert [line.strip() for line in below.splitlines()] == [
        "seed 7",
        "✗ all is well",
        "web is not well",
        "nor is it",
        f"{FIRST}  Installed  because",
    ]
    assert not reports.ok


def test_the_report_says_what_each_of_two_versions_did() -> None:
    both = replace(report(), handled={"this": WORK, "5eed5ed": replace(WORK, events=5, failed=1)})
    console = Console(file=StringIO(), width=WIDTH)
    shares = [
        "this: 3 events, 2 messages, 1 sweeps, 4 ARM calls about VMs, 0 failed runs",
        "5eed5ed: 5 events, 2 messages, 1 sweeps, 4 ARM calls about VMs, 1 failed runs",
    ]
    assert [line.strip() for line in both.as_text(console).splitlines() if "messages" in line] == shares
    several = Reports({4: both, 7: report()}).as_text(console).splitlines()
    assert [line.strip() for line in several if "messages" in line] == [f"seed 4, {share}" for share in shares]
    assert both.as_value()["handled"]["5eed5ed"]["events"] == 5


def test_the_report_says_what_no_row_can_say() -> None:
    limited = replace(report(), silent={"the network is blocked": 3, "no data collection rule is associated": 1})
    text = limited.as_text(Console(file=StringIO(), width=200))
    line = next(line for line in text.splitlines() if "Known limit" in line)
    assert line.startswith(
        "Known limit: 4 agents are installed, with all that ARM can prove, and send nothing (3: the net"
    )
    assert limited.ok
    assert limited.as_value()["silent"] == dict(limited.silent)
    assert "seed 4, Known limit: 4 agents" in Reports({4: limited}).as_text(Console(file=StringIO(), width=200))


def test_the_report_says_which_machines_had_no_agent_that_sends() -> None:
    gaps = SortedGaps(unseen={"the network is blocked": 2}, undone=1, by_others={"network": 3, "a/delete": 1})
    lines = replace(report(), gaps=gaps).limits()
    assert lines == [
        "Known limit: 2 old agents were removed with proof: arm, where the new one could not send (2: the network is "
        "blocked)",
        "1 new agents were stopped by others between their proof and our removal",
        "Others left VMs without an agent that sends (3: network; 1: a/delete)",
    ]
    assert replace(report(), gaps=gaps).as_value()["gaps"]["by_others"] == {"network": 3, "a/delete": 1}


def test_several_storms_are_one_object() -> None:
    value = json.loads(Reports({4: report(), 7: report()}).as_json())
    assert (value["ok"], [run["seed"] for run in value["runs"]]) == (True, [4, 7])
    assert value["runs"][0]["figures"]["VMs"] == 10
    assert "holds in every storm" in Reports({4: report()}).as_text(Console(file=StringIO(), width=160))
