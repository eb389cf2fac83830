"""`onboard policy plan` and `explain` know the steps of a policy: identity, associations, extension."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onboarding.cli.main import main
from tests.flow.steps.test_azure_monitor import AMA, ENDPOINT, FOREIGN, OTHER, OURS, RULE, SYSTEM
from tests.flow.world import BIONIC, extension, vm_body

CHECKED = "not known from the body; would be checked"
POLICY = f"""
name: azure-monitor
extension: {AMA}
identity: {{use: any, add: "{{AMA_IDENTITY_ID}}"}}
dataCollectionRules: ["{{DATA_COLLECTION_RULE_ID}}"]
dataCollectionEndpoint: "{{DATA_COLLECTION_ENDPOINT_ID}}"
"""
AGENT = {"publisher": "Microsoft.Azure.Monitor", "type": "AzureMonitorLinuxAgent"}


def users(*ids: str) -> dict[str, Any]:
    return {"type": "UserAssigned", "userAssignedIdentities": {each: {} for each in ids}}


def body(identity: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    made = vm_body("web01", image=BIONIC, **changes)
    return {**made, "identity": identity} if identity is not None else made


def installed(vm: dict[str, Any]) -> dict[str, Any]:
    return {**vm, "resources": [extension("AzureMonitorLinuxAgent", **AGENT, settings={})]}


class Desk:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capsys = folder, capsys
        (folder / "policies").mkdir()
        self.policy(POLICY)
        self.settings: dict[str, str] = {"DATA_COLLECTION_RULE_ID": RULE}

    def policy(self, text: str) -> None:
        (self._folder / "policies" / "p.yaml").write_text(text)

    def run(self, *arguments: str, vm: dict[str, Any]) -> str:
        (self._folder / "vm.json").write_text(json.dumps(vm))
        values = {"ONBOARDING_POLICIES": str(self._folder / "policies"), **self.settings}
        (self._folder / "settings.json").write_text(json.dumps({"Values": values}))
        assert main([*arguments, str(self._folder / "vm.json"), "--settings", str(self._folder / "settings.json")]) == 0
        return self._capsys.readouterr().out

    def plan(self, vm: dict[str, Any]) -> dict[str, Any]:
        (change,) = json.loads(self.run("policy", "plan", "-o", "json", "--vm-list", vm=vm))["changes"]
        after: dict[str, Any] = change["after"]
        return after

    def states(self, vm: dict[str, Any]) -> dict[str, str]:
        return {f"{s['step']} {(s['subject'] or '-').rpartition('/')[2]}": s["state"] for s in self.plan(vm)["steps"]}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("DATA_COLLECTION_RULE_ID", "DATA_COLLECTION_ENDPOINT_ID", "AMA_IDENTITY_ID"):
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path, capsys)


def test_the_steps_are_named_in_their_order(desk: Desk) -> None:
    text = desk.run("policy", "plan", "--vm-list", vm=body())
    steps = "add the system-assigned identity, associate linux if missing, install AzureMonitorLinuxAgent"
    assert f"{AMA}: no policy → Install ({steps})" in text
    plan = desk.plan(body())
    assert [step["step"] for step in plan["steps"]] == ["identity", "association", "extension"]
    assert plan["steps"][1] == {"step": "association", "state": "unknown", "subject": RULE, "reason": CHECKED}


EXTENSION = f"extension {AMA}"


@pytest.mark.parametrize(
    ("vm", "settings", "word", "expected"),
    [
        (body(), {"AMA_IDENTITY_ID": OURS}, "Install", {"identity id-ama": "planned", EXTENSION: "planned"}),
        (body(SYSTEM), {}, "Install", {"identity system": "done", EXTENSION: "planned"}),
        (body(users(FOREIGN)), {}, "Install", {"identity id-app": "done", EXTENSION: "planned"}),
        (installed(body()), {}, "Update", {"identity system": "planned", EXTENSION: "done"}),
        (installed(body(SYSTEM)), {}, "AlreadyInstalled", {"identity system": "done", EXTENSION: "done"}),
        (body(power="deallocated"), {}, "Waiting", {"identity system": "planned", EXTENSION: "waiting"}),
        ({**body(), "resourceGroup": "app-rg"}, {}, "Install", {"identity system": "unknown", EXTENSION: "planned"}),
    ],
    ids=["ours", "system", "another's", "without identity", "equipped", "stopped", "not in the list"],
)
def test_what_would_become_of_each_step(
    desk: Desk, vm: dict[str, Any], settings: dict[str, str], word: str, expected: dict[str, str]
) -> None:
    desk.settings |= settings
    assert desk.plan(vm)["decision"] == word
    assert desk.states(vm) == {**expected, "association linux": "unknown"}


def test_an_endpoint_is_an_association_too(desk: Desk) -> None:
    desk.settings["DATA_COLLECTION_ENDPOINT_ID"] = ENDPOINT
    assert desk.states(body(SYSTEM))["association weu"] == "unknown"


def test_an_identity_that_may_not_be_added_is_the_cause_and_its_fix_is_named(desk: Desk) -> None:
    desk.policy(POLICY.replace("use: any", "use: added"))
    desk.settings["AMA_IDENTITY_ID"] = OURS
    vm = body(users(FOREIGN, OTHER))
    plan = desk.plan(vm)
    assert (plan["decision"], plan["cause"]) == ("Failed", "identity-conflict")
    assert "besideOthers" in plan["advice"]
    assert desk.states(vm) == {"identity -": "refused", "association linux": "unknown", EXTENSION: "blocked"}
    assert f"do: {plan['advice']}" in desk.run("policy", "explain", "--vm", vm=vm)
    desk.policy(POLICY.replace("use: any", "use: added, besideOthers: true"))
    assert desk.states(vm)["identity id-ama"] == "planned"


def test_a_rule_whose_setting_is_missing_here_counts_as_given(desk: Desk) -> None:
    desk.settings.clear()
    plan = desk.plan(body(SYSTEM))
    assert (plan["decision"], plan["steps"][1]["subject"]) == ("Install", "{DATA_COLLECTION_RULE_ID}")


def test_a_machine_that_the_policy_does_not_want_has_no_steps(desk: Desk) -> None:
    desk.policy(POLICY + 'rule: {field: name, equals: "other"}\n')
    assert desk.plan(body())["steps"] == []


def test_a_policy_with_an_extension_alone_says_it_as_before(desk: Desk) -> None:
    desk.policy(f"name: p\nextension: {AMA}\n")
    assert f"{AMA}: no policy → Install  (p)" in desk.run("policy", "plan", "--vm-list", vm=body())
    assert desk.states(body()) == {EXTENSION: "planned"}


def test_another_rule_is_a_change(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "p.yaml").write_text(POLICY)
    desk.policy(POLICY.replace('["{DATA_COLLECTION_RULE_ID}"]', f'["{RULE}2"]'))
    text = desk.run("policy", "plan", "--against", str(tmp_path / "old"), "--vm-list", vm=body(SYSTEM))
    assert "Install → Install (associate linux2 if missing, install AzureMonitorLinuxAgent)" in text


def test_an_explanation_lists_the_steps_and_the_policies_that_are_not_active(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "policies" / "old.yaml").write_text(
        "name: old\nextension: oms-agent-linux\nactiveWhen: {settings: X_Y}"
    )
    text = desk.run("policy", "explain", "--vm", vm=body())
    assert f"      association linux: unknown ({CHECKED})\n      {EXTENSION}: planned\n" in text
    assert "  policy old is not active: app setting X_Y is not set\n" in text
    assert "policy old is not active: app setting X_Y is not set" in desk.run("policy", "plan", "--vm-list", vm=body())
    document = json.loads(desk.run("policy", "plan", "-o", "json", "--vm-list", vm=body()))
    assert document["inactive"] == [{"policy": "old", "because": "app setting X_Y is not set"}]


CASES = """
policy: p.yaml
cases:
  - name: new
    vm: new.json
    expect:
      decision: Install
      steps: >-
        add the system-assigned identity, associate {DATA_COLLECTION_RULE_ID} if missing, install AzureMonitorLinuxAgent
  - name: equipped
    vm: equipped.json
    expect: {decision: AlreadyInstalled, selected: true}
"""


def test_a_case_may_expect_a_decision_and_its_steps(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "policies"
    desk.policy(POLICY + "activeWhen: {settings: DATA_COLLECTION_RULE_ID}\n")  # a case is about the active policy
    (folder / "new.json").write_text(json.dumps(body()))
    (folder / "equipped.json").write_text(json.dumps(installed(body(SYSTEM))))
    (folder / "p.cases.yaml").write_text(CASES)
    assert main(["policy", "test", str(folder)]) == 0, capsys.readouterr().out
    (folder / "p.cases.yaml").write_text(
        CASES.replace("add the system-assigned identity, ", "").replace("AlreadyI", "I")
    )
    capsys.readouterr()
    assert main(["policy", "test", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "steps: expected" in out
    assert "decision: expected 'Installed', is 'AlreadyInstalled'" in out
