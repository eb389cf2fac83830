"""`onboard policy plan` and `explain`: what the policy files would do, before they are deployed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboarding.application.readers.image_definitions import ImageDefinitions
from onboarding.cli.main import main
from onboarding.cli.policy.fleet_reader import FleetReader, parse_listed
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.image.overrides import NO_OVERRIDES
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.policy.rule import compile_rule
from tests.flow.world import BIONIC, POLICY, SUBSCRIPTION, WORKSPACE_ID, WORKSPACE_KEY, World, extension, vm_body, vm_id
from tests.reference import REFERENCE, parse_policy
from tests.shared_samples import SAMPLES, needs_samples

WEST = vm_body("west")
TAGGED = vm_body("tagged", tags={"onboarding": "skip"})
NEW = vm_body("new", image=BIONIC)
FLEET = [WEST, TAGGED, NEW]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "new", linux=POLICY)
    (tmp_path / "fleet.json").write_text(json.dumps(FLEET))
    return tmp_path


def write(folder: Path, **policies: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, policy in policies.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(policy))
    return folder


def plan(folder: Path, *more: str) -> int:
    options = ["--vm-list", str(folder / "fleet.json"), "--policies", str(folder / "new")]
    return main(["policy", "plan", *options, *more])


def test_without_old_files_everything_is_new(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(folder, "--format", "json") == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["machines"], output["changed"]) == (3, 2), "what is out of scope is left as it is"
    assert [change["changed"] for change in output["changes"]] == [True, False, True]
    assert [change["after"]["decision"] for change in output["changes"]] == ["Install", "OutOfScope", "Unsupported"]
    assert {change["before"] for change in output["changes"]} == {None}


def test_a_plan_shows_what_a_change_would_do_and_to_whom(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "old", linux={**POLICY, "rule": {"field": "location", "equals": "eastus"}})
    assert plan(folder, "--against", str(folder / "old")) == 0
    output = capsys.readouterr().out
    assert f"{WEST['id']}  oms-agent-linux: OutOfScope → Install  (linux-monitoring)" in output
    assert "policy linux-monitoring selects it, and the OS supports it" in output
    assert TAGGED["id"] not in output
    assert "3 VMs, 2 changes" in output
    assert plan(folder, "--against", str(folder / "new"), "--format", "json") == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["changed"], output["changes"]) == (0, [])
    assert {"before": "Install", "after": "Install", "vms": 1} in output["counts"]


def test_another_workspace_is_a_change_even_where_the_decision_is_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "old", linux={**POLICY, "settings": {"workspaceId": WORKSPACE_ID}})
    assert plan(folder, "--against", str(folder / "old"), "--all", "--format", "json") == 0
    output = json.loads(capsys.readouterr().out)
    assert [change["changed"] for change in output["changes"]] == [True, True, True]


def test_an_extension_that_no_policy_names_any_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "old", linux=POLICY)
    (folder / "new" / "linux.yaml").unlink()
    assert plan(folder, "--against", str(folder / "old")) == 1
    captured = capsys.readouterr()
    assert "oms-agent-linux: Install → no policy" in captured.out
    assert "holds no usable policy" in captured.err


def test_a_file_that_cannot_be_used_is_named_and_the_rest_is_planned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "new", broken={"name": "x"}, linux_again=POLICY)
    assert plan(folder) == 1
    captured = capsys.readouterr()
    assert "missing key 'extension' in policy x (broken.yaml:1: extension); add" in captured.err
    assert "another policy has the name 'linux-monitoring' (linux_again.yaml:" in captured.err
    assert "3 VMs, 2 changes" in captured.out


CLI_EXTENSION = {
    "id": f"{vm_id('west')}/extensions/OMSExtension",
    "name": "OMSExtension",
    "type": "Microsoft.Compute/virtualMachines/extensions",
    "publisher": "Microsoft.EnterpriseCloud.Monitoring",
    "typePropertiesType": "OmsAgentForLinux",
    "provisioningState": "Succeeded",
    "settings": {"workspaceId": WORKSPACE_ID},
}
LISTED = {"id": CLI_EXTENSION["id"]}
ANOTHER_NAME = {"id": f"{vm_id('west')}/extensions/by-hand"}


def flat_body(body: dict[str, Any]) -> dict[str, Any]:
    """The body as `az vm list` prints it."""
    flat = {key: value for key, value in body.items() if key != "properties"}
    return {**flat, **{key: value for key, value in body["properties"].items() if key != "instanceView"}}


@pytest.mark.parametrize(
    ("resource", "decision"),
    [
        (CLI_EXTENSION, "AlreadyInstalled"),
        (extension(), "AlreadyInstalled"),
        (extension(name="by-hand"), "AlreadyInstalled"),
        (extension(state="Updating"), "Waiting"),
        ({**CLI_EXTENSION, "typePropertiesType": "CustomScript", "publisher": "Microsoft.Azure.Extensions"}, "Install"),
        (LISTED, "unknown"),
        (ANOTHER_NAME, "unknown"),
        ({**LISTED, "name": None, "typePropertiesType": None, "provisioningState": None}, "unknown"),
        ({key: value for key, value in CLI_EXTENSION.items() if key != "provisioningState"}, "unknown"),
        ({key: value for key, value in CLI_EXTENSION.items() if key != "publisher"}, "unknown"),
    ],
)
def test_the_fleet_may_be_what_the_azure_cli_lists(folder: Path, resource: dict[str, Any], decision: str) -> None:
    flat = flat_body(WEST)
    command = [sys.executable, "-m", "onboarding", "policy", "plan", "--policies", str(folder / "new")]
    done = subprocess.run(
        [*command, "--format", "json"],
        input=json.dumps([{**flat, "resources": [resource]}]).encode(),
        capture_output=True,
        check=True,
    )
    (change,) = json.loads(done.stdout)["changes"]
    assert change["vm"] == WEST["id"]
    assert change["after"]["decision"] == decision
    assert ("--live" in change["after"]["reason"]) is (decision == "unknown")


def test_a_failed_extension_of_a_list_is_not_taken_for_a_good_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {**CLI_EXTENSION, "provisioningState": "Failed"}
    (folder / "fleet.json").write_text(json.dumps([{**flat_body(WEST), "resources": [failed]}]))
    assert plan(folder, "--format", "json") == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert change["after"]["decision"] == "Failed"


@pytest.mark.parametrize(
    ("body", "decision"),
    [
        (vm_body("west", tags={"onboarding": "skip"}), "OutOfScope"),
        (vm_body("west", os_type="Windows"), "OutOfScope"),
        (vm_body("west", image=BIONIC), "unknown"),
    ],
)
def test_what_is_decided_without_the_extensions_is_known(
    folder: Path, body: dict[str, Any], decision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "fleet.json").write_text(json.dumps([{**flat_body(body), "resources": [ANOTHER_NAME]}]))
    assert plan(folder, "--format", "json") == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert change["after"]["decision"] == decision
    assert plan(folder, "--against", str(folder / "new"), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["changed"] == 0


ANYTHING: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just({}) | st.just([])
)
KEYS = ("id", "name", "type", "publisher", "typePropertiesType", "provisioningState", "properties", "settings")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    known=st.fixed_dictionaries({}, optional={key: st.just(CLI_EXTENSION.get(key)) for key in KEYS}),
    odd=st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=3),
)
def test_what_a_list_tells_of_an_extension_in_part_is_never_taken_for_all(
    folder: Path, known: dict[str, Any], odd: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    resource = {**LISTED, **known, **odd}
    (folder / "fleet.json").write_text(json.dumps([{**flat_body(WEST), "resources": [resource, 5, None]}]))
    assert plan(folder, "--format", "json") == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    if change["after"]["decision"] == "AlreadyInstalled":
        keys = ("publisher", "typePropertiesType", "provisioningState")
        assert {key: resource.get(key) for key in keys} == {key: CLI_EXTENSION[key] for key in keys}


def test_explain_shows_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(folder, {**flat_body(WEST), "resources": [ANOTHER_NAME]}) == 0
    assert "→ unknown: the body names the VM's extensions without handler or state (by-hand)" in capsys.readouterr().out


def test_a_known_handler_leaves_no_room_for_a_nameless_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fleet.json").write_text(json.dumps([{**flat_body(WEST), "resources": [ANOTHER_NAME, extension()]}]))
    assert plan(folder, "--format", "json") == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert change["after"]["decision"] == "AlreadyInstalled"


def test_values_that_a_resource_graph_row_lacks_are_unknown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = {key: value for key, value in WEST.items() if key != "resources"}
    body["properties"] = {key: value for key, value in WEST["properties"].items() if key != "instanceView"}
    for row, silent in ((body, False), ({**body, "resourceGroup": "app-rg", "tenantId": "t"}, True)):
        (folder / "fleet.json").write_text(json.dumps([row]))
        assert plan(folder, "--format", "json") == 0
        (change,) = json.loads(capsys.readouterr().out)["changes"]
        assert ("does not say which extensions" in change["after"]["reason"]) is silent


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--subscription", SUBSCRIPTION],
            "--subscription without --live reads nothing from Azure (--subscription); add --live",
        ),
        (
            ["--live", "--vm-list", "-", "--subscription", SUBSCRIPTION],
            "both given (--subscription); give one of the two",
        ),
    ],
)
def test_options_that_do_not_fit_are_named(
    folder: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "plan", "--policies", str(folder / "new"), *options]) == 2
    assert says in capsys.readouterr().err


def test_what_is_read_from_azure_is_named_by_its_id(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fleet.json").write_text(json.dumps([WEST, {**WEST, "id": "/subscriptions/s"}]))
    assert plan(folder, "--live") == 2
    output = capsys.readouterr().err
    assert "has no id of a VM (" in output
    assert "fleet.json:1); give ids" in output


async def test_a_throttled_read_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    world, slept = World(), list[float]()
    fleet = [each for name in ("a", "b", "gone") if (each := parse_listed(vm_body(name)))]
    world.add("a")
    world.add("b", tags={"unread": "no"})

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    busy = Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "7"})
    world.arm.read_errors = [busy, Evidence(http_status=503, code="ServerBusy")]
    policy = parse_policy({**POLICY, "notScopes": [str(vm_id("b"))]}, "p.yaml", compile_rule)
    reader = FleetReader(world.arm, ImageDefinitions(world.arm, REFERENCE, NO_OVERRIDES), [PolicySet((policy,))], sleep)
    seen = [each async for each in reader.read(fleet)]
    assert [each.facts.id.name for each in seen] == ["a", "b", "gone"]
    assert [bool(each.unread) for each in seen] == [False, False, True]
    assert "no such VM" in seen[2].unread
    assert sorted(slept) == [5, 7]
    assert seen[1].facts.tags == {}, "nobody wants it: the list has to do"


async def test_a_live_read_includes_the_groups_that_a_rule_needs() -> None:
    world = World()
    vm = world.add("a")
    world.arm.scopes[f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{vm.resource_group}".lower()] = {
        "tags": {"env": "lab"}
    }
    rule = {"value": "[resourceGroup().tags.env]", "notEquals": "lab"}
    policies = PolicySet((parse_policy({**POLICY, "rule": rule}, "p.yaml", compile_rule),))
    reader = FleetReader(world.arm, ImageDefinitions(world.arm, REFERENCE, NO_OVERRIDES), [policies])
    ((seen,),) = [[each async for each in reader.read([each for each in [parse_listed(vm_body("a"))] if each])]]
    (said,) = policies.assign(seen.facts, world.now)
    assert not said.selected
    assert not said.undecided


def explain(folder: Path, body: dict[str, Any], *more: str) -> int:
    (folder / "vm.json").write_text(json.dumps(body))
    return main(["policy", "explain", "--vm", str(folder / "vm.json"), "--policies", str(folder / "new"), *more])


def test_explain_shows_precedence_exemption_system_and_decision(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exempt = {"scope": str(vm_id("west")), "reason": "by hand", "expiresOn": "2099-01-01"}
    write(
        folder / "new",
        a={**POLICY, "name": "a", "exemptions": [exempt]},
        z={**POLICY, "name": "z", "rule": {"field": "location", "in": ["westeurope"]}},
    )
    assert explain(folder, WEST) == 0
    output = capsys.readouterr().out
    assert "✗ policy a (does not decide): exempt from policy a (Waiver until 2099-01-01: by hand)" in output
    assert "✓ policy linux-monitoring (decides): policy linux-monitoring selects it" in output
    assert "✓ policy z (does not decide)" in output
    assert "✓ location in ['westeurope']: 'westeurope'" in output
    assert "lists in row ubuntu 16.04" in output
    assert "→ Install: policy linux-monitoring selects it" in output


def test_a_plan_counts_the_vms_that_a_policy_only_audits_at_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long_ago, to_come = (datetime(year, 1, 1, tzinfo=UTC) for year in (2020, 2199))
    fleet = [vm_body("old", created=long_ago), vm_body("new", created=to_come), vm_body("unknown")]
    del fleet[2]["properties"]["timeCreated"]
    (folder / "fleet.json").write_text(json.dumps(fleet))
    assert plan(folder, "--format", "json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["auditedFirst"] == 1
    assert [change["after"].get("auditedFirst", False) for change in output["changes"]] == [True, False, False]
    assert plan(folder) == 0
    assert "\n       1 of them only Audited if" in capsys.readouterr().out
    write(folder / "new", linux={**POLICY, "existing": "enforce"})
    assert plan(folder) == 0
    assert "only Audited" not in capsys.readouterr().out


@pytest.mark.parametrize("existing", ["audit", "enforce"])
def test_explain_says_what_a_policy_does_about_older_vms(
    folder: Path, capsys: pytest.CaptureFixture[str], existing: str
) -> None:
    write(folder / "new", linux={**POLICY, "existing": existing})
    vm = vm_body("old", created=datetime(2020, 1, 1, tzinfo=UTC))
    assert explain(folder, vm, "--format", "json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["policies"][0]["existing"] == existing
    assert ("auditedFirst" in output["decisions"][0]) is (existing == "audit")
    assert explain(folder, vm) == 0
    text = capsys.readouterr().out
    assert f"policy linux-monitoring selects it; existing: {existing}\n" in text
    assert ("only Audited if it was created more than an hour before" in text) is (existing == "audit")
    assert ("`onboard enforce linux-monitoring` then takes it up" in text) is (existing == "audit")


def test_explain_answers_in_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    condition = {"field": "Microsoft.Compute/virtualMachines/extensions/provisioningState", "equals": "Succeeded"}
    write(folder / "new", linux={**POLICY, "existenceCondition": condition})
    assert explain(folder, {**WEST, "resources": [extension()]}, "--format", "json") == 0
    output = json.loads(capsys.readouterr().out)
    (policy,) = output["policies"]
    assert (policy["decides"], policy["rule"]["matched"]) == (True, True)
    assert policy["existenceCondition for 'OMSExtension'"]["matched"] is True
    assert output["os"]["version"] == "16.04"
    (decision,) = output["decisions"]
    assert (decision["decision"], decision["verdict"], decision["row"]) == (
        "AlreadyInstalled",
        "supported",
        "ubuntu 16.04",
    )


def test_explain_takes_one_policy_by_its_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "new", z={**POLICY, "name": "z"})
    assert explain(folder, WEST, "--policy", "z") == 0
    assert "policy z (decides)" in capsys.readouterr().out
    assert explain(folder, WEST, "--policy", "y") == 2
    assert "(--policy); known policies: linux-monitoring, z" in capsys.readouterr().err


def test_explain_refuses_the_id_of_another_resource(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", "--vm", "/subscriptions/s/resourceGroups/g"]) == 2
    assert "'/subscriptions/s/resourceGroups/g' is not the id of a VM (--vm); give" in capsys.readouterr().err


@needs_samples
def test_azures_own_rule_in_front_says_why_an_image_was_skipped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rule first has Azure's own list of images; then our image identification and the support table decide."""
    definition = SAMPLES / "policies" / "LogAnalyticsExtension_Linux_VM_DINE.json"
    values = json.dumps({"effect": "DeployIfNotExists", "logAnalytics": "/subscriptions/s/workspaces/w"})
    (folder / "new" / "linux.yaml").unlink()
    target = str(folder / "new" / "imported.yaml")
    assert main(["policy", "import", str(definition), "-o", target, "--parameters", values]) == 0
    capsys.readouterr()

    fedora = {"publisher": "tunnelbiz", "offer": "fedora", "sku": "fedoragen2", "version": "latest"}
    for image, word, reason in [
        (fedora, "OutOfScope", "does not match it: ✗ none of"),
        (BIONIC, "Unsupported", "18.04"),
        (WEST["properties"]["storageProfile"]["imageReference"], "Install", "selects it"),
    ]:
        assert explain(folder, vm_body("web01", image=image), "--format", "json") == 0
        output = json.loads(capsys.readouterr().out)
        (decision,) = output["decisions"]
        assert decision["decision"] == word
        assert reason in decision["reason"]
    assert explain(folder, vm_body("web01", image=fedora)) == 0
    assert "✗ Microsoft.Compute/imagePublisher equals 'Canonical': 'tunnelbiz'" in capsys.readouterr().out


def test_plan_and_explain_show_the_change_window(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = f"{datetime.now(UTC) + timedelta(days=3):%a}".lower()
    strict = {"field": "Microsoft.Compute/virtualMachines/extensions/autoUpgradeMinorVersion", "equals": True}
    write(
        folder / "new",
        linux={
            **POLICY,
            "existenceCondition": strict,
            "changeWindow": [{"from": "00:00", "to": "01:00", "days": [day]}],
        },
    )
    old = {**vm_body("old"), "resources": [extension(autoUpgradeMinorVersion=False, typeHandlerVersion="1.0")]}
    (folder / "fleet.json").write_text(json.dumps([old, WEST]))
    opens = rf"{day} 00:00-01:00 UTC \(of policy linux-monitoring\), opens at \d{{4}}-\d\d-\d\d 00:00 UTC"
    assert plan(folder) == 0
    text = capsys.readouterr().out
    assert re.search(
        rf"oms-agent-linux: no policy → Waiting.*\n    changes wait for .*\n    change window: {opens}", text
    )
    assert "no policy → Install" in text
    (folder / "vm.json").write_text(json.dumps(old))
    assert main(["policy", "explain", "--vm", str(folder / "vm.json"), "--policies", str(folder / "new")]) == 0
    assert re.search(rf"    change window: {opens}\n    → Waiting: changes wait for", capsys.readouterr().out)
    options = ["--vm", str(folder / "vm.json"), "--policies", str(folder / "new"), "-o", "json"]
    assert main(["policy", "explain", *options]) == 0
    explained = json.loads(capsys.readouterr().out)
    decision = (explained[0] if isinstance(explained, list) else explained)["decisions"][0]
    assert re.fullmatch(opens, decision["changeWindow"])


def installed(version: str, **properties: Any) -> dict[str, Any]:
    """A VM that has the extension, healthy and with the policy's workspace."""
    settings = {"workspaceId": WORKSPACE_ID, **properties}
    there = extension(typeHandlerVersion=version, settings=settings)
    return {**vm_body("has-it"), "resources": [there]}


@pytest.mark.parametrize(
    ("version", "settings", "update"),
    [
        ("1.2", {}, "1.2 → 1.3"),
        ("1.3", {}, ""),
        ("1.19", {}, ""),  # never a downgrade
        ("1.3", {"skipDockerProviderInstall": True}, "settings skipDockerProviderInstall"),
    ],
)
def test_what_would_be_updated_if_we_installed_it_is_counted_as_such(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    settings: dict[str, Any],
    update: str,
) -> None:
    monkeypatch.setenv("OMS_WORKSPACE_ID", WORKSPACE_ID)
    monkeypatch.setenv("OMS_WORKSPACE_KEY", WORKSPACE_KEY)
    (folder / "fleet.json").write_text(json.dumps([installed(version, **settings)]))
    assert plan(folder, "--output", "json") == 0
    output = json.loads(capsys.readouterr().out)
    (change,) = output["changes"]
    assert change["after"]["decision"] == "AlreadyInstalled"
    assert (change["after"].get("updateIfOurs", ""), output["updateIfOurs"]) == (update, int(update != ""))
    assert plan(folder) == 0
    text = capsys.readouterr().out
    assert ("if we installed it" in text) is (update != "")
    assert f"AlreadyInstalled (update {update} if we installed it)" in text or not update


def test_a_setting_whose_app_setting_is_missing_here_is_not_taken_for_an_update(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "fleet.json").write_text(json.dumps([installed("1.3")]))
    assert plan(folder, "--output", "json") == 0
    assert json.loads(capsys.readouterr().out)["updateIfOurs"] == 0


def test_a_higher_version_in_the_users_own_catalogue_is_a_change_of_the_plan(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {
        "name": "metrics",
        "publisher": "Contoso",
        "type": "Metrics",
        "version": "1.9",
        "resourceName": "Metrics",
        "os": "linux",
    }
    for name, version in (("old", "1.9"), ("new", "1.10")):
        write(folder / name, linux={"name": "metrics", "extension": "metrics"})
        (folder / name / "extensions").mkdir()
        (folder / name / "extensions" / "metrics.yaml").write_text(yaml.safe_dump({**entry, "version": version}))
    there = extension("Metrics", publisher="Contoso", type="Metrics", typeHandlerVersion="1.9")
    (folder / "fleet.json").write_text(json.dumps([{**vm_body("has-it"), "resources": [there]}]))
    assert plan(folder, "--against", str(folder / "old"), "--output", "json") == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["changed"], output["updateIfOurs"]) == (1, 1)
    vm = folder / "vm.json"
    vm.write_text(json.dumps({**vm_body("has-it"), "resources": [there]}))
    assert main(["policy", "explain", "--vm", str(vm), "--policies", str(folder / "new")]) == 0
    assert "update 1.9 → 1.10 if we installed it" in capsys.readouterr().out
