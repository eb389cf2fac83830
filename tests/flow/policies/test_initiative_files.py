"""`onboard policy import` and `onboard policy compare` of an initiative, as a person calls them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.main import main
from tests.unit.policy.initiative_bodies import (
    IMAGES,
    OTHER,
    association_details,
    audit_details,
    body,
    definition,
    extension_details,
    identity_details,
    image_block,
    initiative,
)

Capture = pytest.CaptureFixture[str]
VENDOR = ("Contoso.Agents", "WatcherForLinux")
RULE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/dataCollectionRules/r"
SCOPE = "/subscriptions/11112222-3333-4444-5555-666677778888"
DEFINITIONS = (
    definition(
        "agent",
        [image_block("Canonical")],
        extension_details("Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent", {}),
        images=[],
    ),
    definition("identity", [], identity_details(), identityResourceId=""),
    definition("rule", [image_block("Canonical")], association_details(), images=[], dcrResourceId=None),
    definition(
        "vendor", [image_block("Canonical")], extension_details(*VENDOR, {"port": 80}, size="[field('x')]"), images=[]
    ),
    definition("inside", [], {"type": "Microsoft.GuestConfiguration/guestConfigurationAssignments"}),
)
SET = initiative(
    ("Identity", "identity", {}),
    ("Agent", "agent", {"effect": "[parameters('effect')]"}),
    ("Rule", "rule", {"dcrResourceId": "[parameters('dcr')]"}),
    ("Vendor", "vendor", {}),
    ("Inside", "inside", {}),
    effect="DeployIfNotExists",
    dcr=None,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The initiative, with its definitions in `definitions/`."""
    (tmp_path / "definitions").mkdir()
    for each in DEFINITIONS:
        (tmp_path / "definitions" / f"{each['name']}.json").write_text(json.dumps(each))
    (tmp_path / "set.json").write_text(json.dumps(SET))
    return tmp_path


def run(folder: Path, *more: str, file: str = "set.json") -> int:
    return main(["policy", "import", str(folder / file), "-o", str(folder / "out"), *more])


def written(folder: Path) -> dict[str, Any]:
    return {path.name: yaml.safe_load(path.read_text()) for path in (folder / "out").rglob("*.yaml")}


def test_every_member_is_in_the_report_and_the_folder_can_be_used(folder: Path, capsys: Capture) -> None:
    assert run(folder) == 0
    report = capsys.readouterr().out
    assert report.startswith("Contoso: all: 5 members, 4 taken over in 2 policies\n")
    assert "  Rule\n      association of policy contoso-agent\n" in report
    assert "\nnot taken over:\n  Inside: it is about a setting inside the machine" in report
    assert "\napp settings to give: IDENTITY_RESOURCE_ID, DCR\n" in report
    assert sorted(written(folder)) == ["contoso-agent.yaml", "contoso-vendor.yaml", "watcherforlinux.yaml"]
    assert "# From the initiative Contoso: all:" in (folder / "out" / "contoso-agent.yaml").read_text()
    assert main(["policy", "validate", str(folder / "out")]) == 0
    assert "3 files, 0 errors" in capsys.readouterr().out


def test_the_report_is_json_or_csv_too_and_a_dry_run_writes_nothing(folder: Path, capsys: Capture) -> None:
    assert run(folder, "--dry-run", "--report", "json") == 0
    report = json.loads(capsys.readouterr().out)
    assert {each["member"]: [step["step"] for step in each["becomes"]] for each in report["members"]} == {
        "Identity": ["identity"],
        "Agent": ["extension"],
        "Rule": ["association"],
        "Vendor": ["extension"],
        "Inside": [],
    }
    assert (report["extensions"], report["settings"]) == (["watcherforlinux"], ["IDENTITY_RESOURCE_ID", "DCR"])
    assert not (folder / "out").exists()
    assert run(folder, "--report", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [bool(row["reason"]) for row in rows] == [False, False, False, False, True]


def test_without_a_folder_the_policies_are_printed_and_the_report_is_apart(folder: Path, capsys: Capture) -> None:
    assert main(["policy", "import", str(folder / "set.json")]) == 0
    output = capsys.readouterr()
    assert [each["name"] for each in yaml.safe_load_all(output.out)] == ["contoso-agent", "contoso-vendor"]
    assert "5 members, 4 taken over" in output.err


def test_parameters_and_an_assignment_give_values_scope_and_effects(folder: Path) -> None:
    selectors = [{"kind": "policyDefinitionReferenceId", "in": ["vendor"]}]
    properties: dict[str, Any] = {
        "policyDefinitionId": SET["id"],
        "scope": SCOPE,
        "notScopes": [f"{SCOPE}/resourceGroups/lab"],
        "parameters": {"dcr": {"value": RULE}, "effect": {"value": "Disabled"}},
        "overrides": [{"kind": "policyEffect", "value": "AuditIfNotExists", "selectors": selectors}],
    }
    given = ("--parameter", "effect=DeployIfNotExists", "--parameters", '{"effect": "Disabled"}')
    (folder / "assignment.json").write_text(json.dumps({"properties": properties}))
    assert run(folder, "--assignment", str(folder / "assignment.json"), *given) == 0
    agent, vendor = written(folder)["contoso-agent.yaml"], written(folder)["contoso-vendor.yaml"]
    assert (agent["effect"], agent["dataCollectionRules"]) == ("deployIfNotExists", [RULE])
    assert (agent["scope"], agent["notScopes"]) == ([SCOPE], [f"{SCOPE}/resourceGroups/lab"])
    assert vendor["effect"] == "auditIfNotExists"
    (folder / "assignment.json").write_text(
        json.dumps({"properties": {**properties, "enforcementMode": "DoNotEnforce"}})
    )
    assert run(folder, "--assignment", str(folder / "assignment.json"), *given) == 0
    assert written(folder)["contoso-agent.yaml"]["effect"] == "auditIfNotExists"


def test_what_is_missing_is_named_with_the_command_that_exports_it(folder: Path, capsys: Capture) -> None:
    (folder / "more" / "deep").mkdir(parents=True)
    (folder / "definitions" / "vendor.json").rename(folder / "more" / "deep" / "of-the-vendor.json")
    assert run(folder) == 1
    error = capsys.readouterr().err
    assert "policyDefinitions/vendor is not in " in error
    assert "; az policy definition show --name vendor > " in error
    named = ("--definitions", str(folder / "more"), "--definitions", str(folder / "definitions"))
    assert run(folder, *named) == 0
    assert run(folder, "--definitions", str(folder / "nowhere")) == 2


def test_of_files_with_one_id_that_in_the_fewest_folders_is_read(folder: Path) -> None:
    clone = folder / "clone"
    (clone / "Another Cloud" / "Monitoring").mkdir(parents=True)
    (clone / "Monitoring").mkdir()
    (folder / "definitions" / "agent.json").unlink()
    agent = next(each for each in DEFINITIONS if each["name"] == "agent")
    other = json.loads(json.dumps(agent).replace("Contoso: agent", "Contoso: agent of another cloud"))
    (clone / "Another Cloud" / "Monitoring" / "Agent_VM.json").write_text(json.dumps(other))
    (clone / "Monitoring" / "Agent_VM.json").write_text(json.dumps(agent))
    assert run(folder, "--definitions", str(clone), "--definitions", str(folder / "definitions")) == 0
    assert "contoso-agent.yaml" in written(folder)


def test_another_version_than_the_initiative_takes_is_noted(folder: Path, capsys: Capture) -> None:
    agent = json.loads((folder / "definitions" / "agent.json").read_text())
    agent["properties"]["version"] = "2.1.0-preview"
    (folder / "definitions" / "agent.json").write_text(json.dumps(agent))
    for wanted, differs in (("2.*.*", False), ("3.*.*", True)):
        members = [{**each, "definitionVersion": wanted} for each in SET["properties"]["policyDefinitions"]]
        properties = {**SET["properties"], "policyDefinitions": members}
        (folder / "set.json").write_text(json.dumps({**SET, "properties": properties}))
        assert run(folder) == 0
        note = "the initiative takes version 3.*.* of its definition, and this is 2.1.0-preview"
        assert (note in capsys.readouterr().out) is differs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--parameter", "dcr"), "does not give a parameter a value"),
        (("--parameter", "drc=x"), "unknown parameter 'drc'"),
        (("--assignment", "set.json"), "this is not a policy assignment"),
    ],
)
def test_values_that_mean_nothing_are_refused(
    folder: Path, given: tuple[str, ...], message: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(folder, *given) == 2
    assert message in capsys.readouterr().err


def test_files_of_others_are_never_overwritten(folder: Path, capsys: Capture) -> None:
    assert run(folder) == 0
    entry = folder / "out" / "extensions" / "watcherforlinux.yaml"
    entry.write_text(entry.read_text() + "logs: [/var/log/watcher.log]\n")
    before = set(written(folder))
    assert run(folder) == 0
    assert set(written(folder)) == before, "a second import replaces its own files"
    assert "logs:" in entry.read_text(), "a completed entry stays"
    other = {**SET, "name": "second", "id": f"{SET['id']}-2"}
    (folder / "second.json").write_text(json.dumps(other))
    assert run(folder, file="second.json") == 0
    assert set(written(folder)) == before | {"contoso-agent-2.yaml", "contoso-vendor-2.yaml"}
    assert written(folder)["contoso-agent-2.yaml"]["name"] == "contoso-agent-2"
    assert "of policy contoso-agent-2" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["show", "list", "resource"])
def test_each_form_of_an_initiative_is_read(folder: Path, form: str) -> None:
    flat = {"id": SET["id"], "name": SET["name"], **SET["properties"]}
    escaped = json.loads(json.dumps(SET).replace('"[parameters', '"[[parameters'))
    resource = {"type": "Microsoft.Authorization/policySetDefinitions", "apiVersion": "2021-06-01", **escaped}
    forms: dict[str, Any] = {"show": flat, "list": [SET], "resource": resource}
    (folder / "set.json").write_text(json.dumps(forms[form]))
    assert run(folder) == 0
    assert written(folder)["contoso-agent.yaml"]["dataCollectionRules"] == ["{DCR}"]


def test_one_definition_of_an_unknown_extension_gets_an_entry_beside_its_policy(folder: Path, capsys: Capture) -> None:
    out = folder / "out" / "vendor.yaml"
    out.parent.mkdir()
    assert main(["policy", "import", str(folder / "definitions" / "vendor.json"), "-o", str(out)]) == 0
    assert "watcherforlinux.yaml was made from the definition's template" in capsys.readouterr().err
    assert main(["policy", "validate", str(out.parent)]) == 0
    entry = yaml.safe_load((out.parent / "extensions" / "watcherforlinux.yaml").read_text())
    assert (entry["publisher"], entry["version"], entry["os"]) == (VENDOR[0], "1.2", "linux")


def test_one_definition_for_windows_images_gets_an_entry_for_windows(folder: Path) -> None:
    details = extension_details("Contoso.Agents", "Scanner", {})
    whole = definition("scanner", [image_block("MicrosoftWindowsServer")], details, images=[])
    (folder / "scanner.json").write_text(json.dumps(whole))
    out = folder / "out" / "scanner.yaml"
    out.parent.mkdir()
    assert main(["policy", "import", str(folder / "scanner.json"), "-o", str(out)]) == 0
    assert yaml.safe_load(out.read_text())["extension"] == "scanner-windows"
    entry = yaml.safe_load((out.parent / "extensions" / "scanner-windows.yaml").read_text())
    assert entry["os"] == "windows"
    assert main(["policy", "validate", str(out.parent)]) == 0


LEFT_OUT = {**body(IMAGES[3], "westeurope", None, False), "name": "left-out"}
SELECTED = {**body(IMAGES[1], "westeurope", None, False), "name": "selected"}
SOLE = {
    **body(IMAGES[1], "westeurope", {"type": "UserAssigned", "userAssignedIdentities": {OTHER: {}}}, False),
    "name": "sole",
}


def fleet(folder: Path, *machines: dict[str, Any]) -> str:
    named = [{**each, "id": f"{each['id'].rpartition('/')[0]}/{each['name']}"} for each in machines]
    (folder / "fleet.json").write_text(json.dumps(named))
    return str(folder / "fleet.json")


def compare(folder: Path, machines: str, *more: str) -> int:
    given = ("--vm-list", machines, "--policies", str(folder / "out"), *more)
    return main(["policy", "compare", str(folder / "set.json"), *given])


def test_imported_policies_decide_as_azure_policy_does(folder: Path, capsys: Capture) -> None:
    assert run(folder) == 0
    capsys.readouterr()
    assert compare(folder, fleet(folder, SELECTED, SOLE), "--all", "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["machines"], answer["differing"]) == (2, 0)
    decisions = {
        (each["vm"].rpartition("/")[2], each["subject"]): (each["azure"]["decision"], each["ours"]["decision"])
        for each in answer["decisions"]
    }
    assert decisions["selected", "identity"] == decisions["selected", "association"] == ("write", "write")
    assert decisions["sole", "identity"] == ("present", "present")
    assert decisions["selected", "azure-monitor-agent-linux"] == ("write", "write")


def test_a_machine_that_an_image_list_forgets_is_a_difference_with_its_reason(folder: Path, capsys: Capture) -> None:
    (folder / "out").mkdir()
    policy = {"name": "all", "extension": "azure-monitor-agent-linux", "identity": {"add": "system"}}
    (folder / "out" / "all.yaml").write_text(yaml.safe_dump(policy))
    assert compare(folder, fleet(folder, LEFT_OUT)) == 1
    output = capsys.readouterr().out
    assert "/left-out  azure-monitor-agent-linux: Azure nothing, ours write\n    Azure Policy: if: " in output
    assert "Microsoft.Compute/image" in output
    assert "\n1 VM, 5 decisions, 1 difference\n" in output
    assert compare(folder, fleet(folder, LEFT_OUT), "-o", "csv") == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["subject"]: (row["azure"], row["ours"]) for row in rows} == {
        "azure-monitor-agent-linux": ("nothing", "write")
    }


def test_a_member_that_cannot_be_compared_is_named(folder: Path, capsys: Capture) -> None:
    assert run(folder) == 0
    (folder / "definitions" / "agent.json").unlink()
    capsys.readouterr()
    assert compare(folder, fleet(folder, SELECTED)) == 1
    assert "onboard policy compare: Agent: definition " in capsys.readouterr().err


def test_an_identity_that_keeps_a_rule_from_selecting_the_machine_is_present(folder: Path, capsys: Capture) -> None:
    """A rule that adds an identity selects the machines without one."""
    lacks = {"field": "identity.type", "notContains": "SystemAssigned"}
    operation = {"operation": "addOrReplace", "field": "identity.type", "value": "SystemAssigned"}
    adding = definition("identity", [lacks], {"operations": [operation]}, effect="Modify", identityResourceId="")
    (folder / "definitions" / "identity.json").write_text(json.dumps(adding))
    assert run(folder) == 0
    with_one = {**body(IMAGES[1], "westeurope", {"type": "SystemAssigned", "principalId": "p"}, False), "name": "one"}
    capsys.readouterr()
    assert compare(folder, fleet(folder, SELECTED, with_one), "--all", "-o", "json") == 0
    decisions = json.loads(capsys.readouterr().out)["decisions"]
    assert {
        each["vm"].rpartition("/")[2]: (each["azure"]["decision"], each["ours"]["decision"])
        for each in decisions
        if each["subject"] == "identity"
    } == {"selected": ("write", "write"), "one": ("present", "present")}


def test_of_an_extension_for_each_system_only_the_machines_own_is_compared(folder: Path, capsys: Capture) -> None:
    pairs = [("Contoso.Agents", "Scanner"), VENDOR]
    both = definition("vendor", [], audit_details(*pairs), images=[], effect="AuditIfNotExists")
    (folder / "definitions" / "vendor.json").write_text(json.dumps(both))
    assert run(folder) == 0
    windows = {**body(IMAGES[5], "westeurope", None, False), "name": "windows"}
    capsys.readouterr()
    compare(folder, fleet(folder, SELECTED, windows), "--all", "-o", "json")
    decisions = json.loads(capsys.readouterr().out)["decisions"]
    assert {
        (each["vm"].rpartition("/")[2], each["subject"]): (each["azure"]["decision"], each["ours"]["decision"])
        for each in decisions
        if each["subject"] in ("watcherforlinux", "scanner-windows")
    } == {("selected", "watcherforlinux"): ("audit", "audit"), ("windows", "scanner-windows"): ("audit", "audit")}
