"""Policy files with `removeIfExists`: what they may say, and what `onboard policy validate` warns of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onboarding.cli.main import main
from onboarding.domain.errors import ConfigurationError
from onboarding.domain.policy.policy import Effect, Policy
from onboarding.domain.policy.rule import compile_rule
from onboarding.loading.policy_folder import load_catalogue_of, load_policies
from simulator.laptop import ROOT
from tests.reference import parse_policy

RETIRE: dict[str, Any] = {"name": "retire-oms", "effect": "removeIfExists", "extension": "oms-agent-linux"}
AFTER: dict[str, Any] = {"policy": "azure-monitor", "for": "24h", "proof": "arm"}
INSTALL: dict[str, Any] = {
    "name": "linux-monitoring",
    "extension": "oms-agent-linux",
    "settings": {"workspaceId": "{OMS_WORKSPACE_ID}"},
    "protectedSettings": {"workspaceKey": "{OMS_WORKSPACE_KEY}"},
}


def parsed(**changes: Any) -> Policy:
    return parse_policy({**RETIRE, **changes}, "retire.yaml", compile_rule)


def refused(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as found:
        parsed(**changes)
    return str(found.value)


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ({"proof": None}, 'write heartbeat: "{LOG_ANALYTICS_WORKSPACE_ID}"'),
        ({"heartbeat": "{WORKSPACE}"}, "keep one of them"),
        ({"for": None}, "onlyAfter.for"),
        ({"for": "soon"}, "'soon' is not a duration (retire.yaml: onlyAfter.for)"),
        ({"proof": "faith"}, "unknown proof 'faith'"),
        ({"policy": "retire-oms"}, "the policy names itself"),
        ({"more": 1}, "unknown key 'more' in an onlyAfter"),
    ],
)
def test_what_an_only_after_cannot_say(after: dict[str, Any], says: str) -> None:
    given_ = {key: value for key, value in {**AFTER, **after}.items() if value is not None}
    assert says in refused(onlyAfter=given_)


@pytest.mark.parametrize("key", ["settings", "protectedSettings", "existenceCondition", "workspaces", "reconnect"])
def test_a_removal_takes_no_key_about_an_install(key: str) -> None:
    values: dict[str, Any] = {"reconnect": True, "workspaces": [{"name": "w", "settings": {}}]}
    text = refused(**{key: values.get(key, {"field": "type", "equals": "x"})})
    assert text.startswith("a policy with effect removeIfExists installs nothing")
    assert key in text


def test_an_install_comes_after_nothing() -> None:
    assert "removes nothing" in refused(effect="deployIfNotExists", onlyAfter=AFTER)


@given(st.integers(1, 10_000), st.sampled_from(["s", "m", "h"]), st.sampled_from(["proof", "heartbeat"]))
def test_every_duration_and_each_of_the_two_proofs_are_read(number: int, unit: str, proof: str) -> None:
    chosen = {"proof": "arm"} if proof == "proof" else {"heartbeat": "{WORKSPACE}"}
    rule = parsed(onlyAfter={"policy": "azure-monitor", "for": f"{number}{unit}", **chosen}).only_after
    assert rule is not None
    assert float(rule.wait) == number * {"s": 1, "m": 60, "h": 3600}[unit]
    assert bool(rule.heartbeat) is (proof == "heartbeat")


def warnings_of(folder: Path, capsys: pytest.CaptureFixture[str], *policies: dict[str, Any]) -> list[dict[str, Any]]:
    for policy in policies:
        (folder / f"{policy['name']}.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    assert main(["policy", "validate", str(folder), "-o", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["warnings"]
    return found


def test_a_removal_beside_an_install_is_a_warning_that_names_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (warning,) = warnings_of(tmp_path, capsys, INSTALL, RETIRE)
    assert warning["file"].endswith("retire-oms.yaml")
    assert warning["line"] == 3
    assert "linux-monitoring" in warning["message"]
    assert "the removal decides" in warning["message"]


def test_a_policy_that_is_not_there_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (warning,) = warnings_of(tmp_path, capsys, {**RETIRE, "onlyAfter": AFTER})
    assert (warning["place"], "'azure-monitor'" in warning["message"]) == ("onlyAfter.policy", True)


def test_removals_of_other_extensions_and_disabled_installs_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = {"use": "any"}
    other = {"name": "azure-monitor", "extension": "azure-monitor-agent-linux", "identity": identity}
    assert warnings_of(tmp_path, capsys, {**INSTALL, "effect": "disabled"}, other, {**RETIRE, "onlyAfter": AFTER}) == []


def test_the_sample_policies_of_a_migration_are_valid_and_the_second_comes_after_the_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_COLLECTION_RULE_ID", "/subscriptions/s")
    folder = ROOT / "samples" / "policies" / "migration"
    assert main(["policy", "validate", str(folder)]) == 0
    assert capsys.readouterr().out == "2 files, 0 errors\n"
    policies, problems = load_policies(folder, load_catalogue_of(folder).entries)
    first, second = policies.policies
    assert problems == ()
    assert (first.name, first.effect, second.name, second.effect) == (
        "azure-monitor",
        Effect.AUDIT,
        "retire-oms",
        Effect.REMOVE,
    )
    assert second.only_after is not None
    assert (second.only_after.policy, second.only_after.heartbeat) == ("azure-monitor", "{LOG_ANALYTICS_WORKSPACE_ID}")
