"""The demo itself: its fleet is as specified, and its checks find errors."""

from __future__ import annotations

import json
from collections import Counter
from copy import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from simulator.arm import Agent, Breakage, Kind
from simulator.arm.http.journal import RecordedRequest, Requests
from simulator.demo.fleet import CROWDED, Expectation, Member, make_fleet
from simulator.demo.ledger import Row
from simulator.demo.own_policies import NoPolicies, copy_policies
from simulator.demo.progress import LiveProgress
from simulator.demo.report import Report, sort_rows
from simulator.demo.today import make_today
from simulator.demo.verdict import Evidence, figures, judge, judge_any, search_secrets
from simulator.laptop import ROOT, SUBSCRIPTIONS, forget_settings
from tests.shared_samples import SAMPLES, needs_samples

FLEET = make_fleet(40, 1, tuple(SUBSCRIPTIONS))
WEB = next(member for member in FLEET if member.kind == "web")
CREATED = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
INSTALL = (Kind.VM_GET, Kind.EXTENSION_PUT, Kind.EXTENSION_GET)


def row(member: Member, **columns: Any) -> Row:
    expected = {"Outcome": member.expected.outcome, "ErrorCode": member.expected.error}
    return Row({"ResourceId": member.spec.id, "VmName": member.spec.name, **expected, **columns})


def request(member: Member, kind: Kind) -> RecordedRequest:
    return RecordedRequest(CREATED, "", kind, member.id, "", 200, "", "", "")


def evidence(*rows: Row, calls: tuple[Kind, ...] = INSTALL, **changes: Any) -> Evidence:
    """The evidence of one web server if all goes well."""
    requests = Requests()
    for kind in calls:
        requests.add(request(WEB, kind))
    shown = rows or (row(WEB),)
    events = [{"subject": r.text("ResourceId"), "data": {"Outcome": r.outcome}} for r in shown]
    well = Evidence((WEB,), {r.vm: r for r in shown}, requests, [], events, 0, [])
    return replace(well, **changes)


def problems(seen: Evidence) -> list[str]:
    return [problem for check in judge(seen) for problem in check.problems]


def test_the_fleet_of_forty_has_every_kind_in_its_number() -> None:
    kinds = yaml.safe_load((ROOT / "simulator" / "demo" / "fleet.yaml").read_text())["kinds"]
    assert Counter(member.kind for member in FLEET) == {kind["name"]: kind["vms"] for kind in kinds}
    assert len({member.id for member in FLEET}) == 40
    assert {member.spec.subscription for member in FLEET} == {*SUBSCRIPTIONS, CROWDED}


@pytest.mark.parametrize("size", [1, 5, 17, 39, 41, 200])
def test_a_fleet_has_the_requested_size(size: int) -> None:
    fleet = make_fleet(size, 1, tuple(SUBSCRIPTIONS))
    assert len(fleet) == size
    assert len({member.kind for member in fleet}) == min(size, len({member.kind for member in FLEET}))


def test_a_seed_gives_the_same_fleet_and_another_seed_another() -> None:
    assert make_fleet(40, 1, tuple(SUBSCRIPTIONS)) == FLEET
    assert make_fleet(40, 2, tuple(SUBSCRIPTIONS)) != FLEET


@needs_samples
def test_the_expectations_agree_with_the_images_labels() -> None:
    labels = {}
    for label in map(json.loads, (SAMPLES / "images.jsonl").read_text().splitlines()):
        labels[label["publisher"], label["offer"], label["sku"]] = label["supported_by_seed"]
    for member in make_fleet(400, 1, tuple(SUBSCRIPTIONS)):
        image = member.spec.image or {}
        if "publisher" not in image or member.spec.guest.agent is Agent.NAMELESS:
            continue
        unlisted = member.expected.outcome == "Unsupported" or member.spec.os_type == "Windows"
        assert labels[image["publisher"], image["offer"], image["sku"]] is not unlisted, image


def test_without_errors_every_check_holds() -> None:
    assert problems(evidence()) == []


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (evidence(row(WEB, Outcome="Failed", ErrorCode="51", Reason="no")), "is Failed 51 (no); it must be Installed"),
        (evidence(rows={}), "has no row; it must be Installed"),
        (evidence(row(WEB), row(WEB, ResourceId="/x/vm-2")), "/x/vm-2 has a row, but there is no such VM"),
        (evidence(calls=(Kind.VM_GET,)), "took 1 calls, 0 of them PUT; 3 are right"),
        (evidence(calls=(Kind.VM_GET, Kind.EXTENSION_PUT)), "took 2 calls, 1 of them PUT"),
        (evidence(calls=(Kind.VM_GET, *INSTALL)), "took 4 calls, 1 of them PUT"),
        (evidence(calls=(Kind.EXTENSION_PUT, Kind.EXTENSION_PUT, Kind.EXTENSION_GET)), "took 3 calls, 2 of them PUT"),
        (evidence(outcome_events=[]), f"{WEB.spec.name} Installed"),
        (evidence(undelivered=2), "2 were not"),
        (evidence(refused={"Microsoft.Compute/virtualMachines/write"}), "Microsoft.Compute/virtualMachines/write"),
        (evidence(failures=["Executed 'Functions.sweep' (Failed"]), "sweep"),
    ],
)
def test_an_error_is_found_and_named(seen: Evidence, found: str) -> None:
    assert any(found in problem for problem in problems(seen)), problems(seen)


TODAY_PLAIN, TODAY_OFFLINE = (
    next(member for member in make_today(1) if member.kind == kind) for kind in ("ama-system", "ama-offline")
)
FOUR = (Kind.VM_GET, Kind.ASSOCIATION_PUT, Kind.EXTENSION_PUT, Kind.EXTENSION_GET)


def today(member: Member, lacks: str = "", silent: str | None = None, **changes: Any) -> Evidence:
    """The evidence of one VM with the agent of today."""
    requests = Requests()
    for kind in FOUR:
        requests.add(request(member, kind))
    seen = evidence(row(member), fleet=(member,), requests=requests)
    silent = member.expected.silent if silent is None else silent
    return replace(seen, lacking={member.id: lacks}, silent={member.id: silent}, **changes)


def test_of_the_agent_of_today_all_facts_are_checked() -> None:
    assert problems(today(TODAY_PLAIN)) == problems(today(TODAY_OFFLINE)) == []
    assert problems(today(TODAY_PLAIN, "its association")) == ["ama-system-01 lacks its association"]
    assert "the machine has no identity" in problems(today(TODAY_PLAIN, silent="the machine has no identity"))[0]
    assert "it flows; the network is blocked" in problems(today(TODAY_OFFLINE, silent=""))[0]
    broken = Breakage(TODAY_PLAIN.id, "app", "us", "system", "")
    assert problems(today(TODAY_PLAIN, breakages=[broken])) == [f"app on {TODAY_PLAIN.id}"]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_the_terminal(width: int) -> None:
    seen = evidence(row(WEB, Reason="the handler reports success"))
    report = Report(sort_rows(seen.rows), figures(seen), judge(seen), 1.0, 60.0)
    lines = report.as_text(Console(width=width, force_terminal=True, color_system=None)).splitlines()
    assert max(map(len, lines)) <= width
    assert any("PUT, end" in line and line.endswith("│") for line in lines)
    assert any(WEB.spec.name in line and "the handler reports" in line for line in lines)


@pytest.mark.parametrize("others", [*range(1, 140), 200, 500])
def test_one_vm_in_twenty_has_an_agent_that_sends_nothing(others: int) -> None:
    members = make_today(others)
    assert len({member.id for member in members}) == len(members)
    assert sum(bool(member.expected.silent) for member in members) >= 0.05 * (others + len(members))


def test_under_own_policies_a_vm_has_a_row_for_each_and_a_row_may_wait_for_its_time() -> None:
    waiting = row(WEB, Outcome="Waiting", NextAttemptAt=datetime(2026, 1, 1, tzinfo=UTC), Policy="second")
    seen = evidence(rows={"a": row(WEB, Policy="first"), "b": waiting})
    assert [check.name for check in judge_any(seen) if not check.ok] == []
    report = Report(sort_rows(seen.rows), figures(seen), judge_any(seen), 1.0, 60.0)
    text = report.as_text(Console(width=120))
    assert "1 VMs, 2 rows: 1 Waiting, 1 Installed." in text
    assert "first:" in text
    assert "second:" in text


def test_a_row_that_waits_for_nothing_is_found() -> None:
    seen = evidence(rows={"a": row(WEB, Outcome="Waiting", Reason="no idea")})
    wrong = [problem for check in judge_any(seen) for problem in check.problems]
    assert wrong == [f"{WEB.spec.name} is Waiting (no idea), and nothing is planned"]


def test_figures_that_do_not_exist_are_left_out() -> None:
    seen = evidence(rows={"a": row(WEB, Outcome="Audited")})
    text = Report(sort_rows(seen.rows), figures(seen), judge_any(seen), 1.0, 60.0).as_text(Console(width=120))
    assert "1 VMs: 1 Audited." in text
    assert "–" not in text.partition("1 VMs")[2]


WAITS = "name: w\nwaits: {install: {every: [20s], giveUpAfter: 2m}}\n"


def test_a_policy_without_waits_gets_those_of_the_demo(tmp_path: Path) -> None:
    (tmp_path / "waits.yaml").write_text(WAITS)
    own = tmp_path / "own"
    (own / "extensions").mkdir(parents=True)
    texts = {
        "plain.yaml": "name: plain\neffect: deployIfNotExists",
        "waits.yaml": "name: has\nwaits: {install: {every: [1h], giveUpAfter: 2h}}\n",
        "flow.yaml": "{name: flow, effect: disabled}\n",
        "broken.yaml": "name: [\n",
        "definition.json": '{"name": "definition"}',
        "extensions/mine.yaml": "name: mine\n",
    }
    for name, text in texts.items():
        (own / name).write_text(text)
    assert copy_policies(own, tmp_path / "copy", tmp_path / "waits.yaml") == ["plain.yaml"]
    read = yaml.safe_load((tmp_path / "copy" / "plain.yaml").read_text())
    assert read == {**yaml.safe_load(texts["plain.yaml"]), "waits": yaml.safe_load(WAITS)["waits"]}
    unchanged = {name: (tmp_path / "copy" / name).read_text() for name in texts if name != "plain.yaml"}
    assert unchanged == {name: text for name, text in texts.items() if name != "plain.yaml"}


def test_a_folder_without_policies_is_refused_by_name(tmp_path: Path) -> None:
    for folder, why in ((tmp_path / "none", "there is no such folder"), (tmp_path, "has no policy file")):
        with pytest.raises(NoPolicies, match=why):
            copy_policies(folder, tmp_path / "copy", tmp_path / "waits.yaml")


def test_silent_agents_are_counted_and_shown() -> None:
    seen = today(TODAY_OFFLINE)
    result = figures(seen)
    assert (result.agents, result.silent) == (1, {"the network is blocked": 1})
    text = Report(sort_rows(seen.rows), result, judge(seen), 1.0, 60.0).as_text(Console(width=120))
    assert "1 of 1 installed Azure Monitor Agents send nothing (1: the network is blocked)" in text


def test_a_machine_on_which_another_extension_is_installed_has_no_silent_agent() -> None:
    seen = today(TODAY_OFFLINE)
    other = replace(seen, silent=dict.fromkeys(seen.silent, "no agent is installed"))
    assert (figures(other).agents, figures(other).silent) == (0, {})


@pytest.mark.parametrize("about", [WEB.spec.id.upper(), f"{WEB.spec.id}/extensions/OMSExtension"])
def test_a_copy_of_an_event_may_cost_a_read_but_never_a_write(about: str) -> None:
    copy = {"data": {"resourceUri": about}}
    reads = (Kind.VM_GET, *INSTALL)
    assert problems(evidence(calls=reads, repeated=[copy])) == []
    assert problems(evidence(calls=(*reads, Kind.EXTENSION_PUT), repeated=[copy, copy])) != []


def test_a_failure_must_have_the_right_code() -> None:
    member = replace(WEB, expected=Expectation("Failed", "51"))
    assert problems(evidence(row(member), fleet=(member,))) == []
    assert problems(evidence(row(member, ErrorCode="10"), fleet=(member,))) != []


def test_a_secret_is_found_with_its_place() -> None:
    check = search_secrets({"key": "abc="}, {"table": "x abc= y", "log": "x"})
    assert check.problems == ("the key is in the table",)


def test_the_figures_come_from_the_rows_and_the_requests() -> None:
    times = {"EventTime": CREATED, "RequestedAt": CREATED.replace(second=2), "FinishedAt": CREATED.replace(second=9)}
    result = figures(evidence(row(WEB, **times)))
    assert (result.counts, result.calls, result.median_to_put) == ({"Installed": 1}, 3, 2.0)
    assert (result.calls_per_onboarded, result.calls_at_first_sight) == (3, 3)


@pytest.mark.parametrize("fleet", [(WEB,), FLEET])
def test_a_run_that_wrote_nothing_is_reported_too(fleet: tuple[Member, ...]) -> None:
    seen = evidence(rows={}, fleet=fleet)
    report = Report(sort_rows(seen.rows), figures(seen), judge(seen), 1.0, 60.0)
    text = report.as_text(Console(width=120))
    assert not report.ok
    assert f"{fleet[0].spec.name} has no row; it must be {fleet[0].expected.outcome}" in text
    assert ("more" in text) == (len(fleet) > 1)
    assert max(map(len, text.splitlines())) <= 120


def test_settings_of_a_real_deployment_are_dropped_and_others_stay() -> None:
    environment = {"ONBOARDING_STORAGE__accountName": "x", "AZURE_CLIENT_ID": "x", "AZURITE": "/a", "PATH": "/b"}
    forget_settings(environment)
    assert environment == {"AZURITE": "/a", "PATH": "/b"}


LONG = "the handler failed: " + "a package of the distribution is missing, " * 6 + "and this is the last word"


def words_of(text: str) -> str:
    """The words, without the lines of a table and their breaks."""
    return "".join(text.translate(str.maketrans("", "", "│╭╮╰╯─├┤┬┴┼")).split())


@pytest.mark.parametrize("width", [80, 100, 119, 120, 160, 200, 240])
def test_the_final_table_fits_its_terminal_and_has_every_reason_whole(width: int) -> None:
    rows = [
        row(member, Reason=f"{LONG} of {member.spec.name}", Policy="p", Distribution="ubuntu") for member in FLEET[:4]
    ]
    report = Report(rows, figures(evidence()), (), 1.0, 60.0)
    shown = report.as_text(Console(width=width, force_terminal=True, color_system=None))
    table = shown.splitlines()[: next(n for n, line in enumerate(shown.splitlines()) if line.startswith("╰"))]
    assert max(map(len, table)) <= min(width, 200)
    cells = [line.split("│") for line in table if "│" in line]
    column = next(n for n, name in enumerate(c.strip() for c in next(iter_headings(table))) if name == "Reason")
    reasons = words_of("".join(cell[column] for cell in cells if len(cell) > column))
    for member in FLEET[:4]:
        assert words_of(f"{LONG} of {member.spec.name}") in reasons


def iter_headings(table: list[str]) -> Any:
    return iter([line.split("│") for line in table if "Reason" in line])


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("height", [24, 50])
def test_the_live_view_fits_its_terminal_and_cuts_no_reason(width: int, height: int) -> None:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    progress = LiveProgress(console, len(FLEET))
    progress.update(4, [row(member, Reason=f"{LONG} of {member.spec.name}") for member in FLEET[:4]])
    with console.capture() as capture:
        console.print(progress.picture())
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    assert words_of(f"{LONG} of {FLEET[3].spec.name}") in words_of("".join(lines))
