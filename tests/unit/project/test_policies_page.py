"""The page on policies and the schema: every example is read by the product, and both know the same keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from onboarding.cli.main import main
from onboarding.domain.image.overrides import parse_overrides
from onboarding.domain.limits.canary import Canary
from onboarding.domain.limits.rollout_limit import RolloutLimit
from onboarding.domain.policy.change_window import ChangeWindow
from onboarding.domain.policy.exemption import Exemption
from onboarding.domain.policy.policy_file import PolicyFile
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.policy.workspaces import WorkspaceEntry
from onboarding.domain.reconcile.wait_schedule import ScheduleEntry
from onboarding.domain.typed_file import keys_of
from onboarding.export.policy_schema import policy_schema
from onboarding.loading.package_data import managed_kinds
from onboarding.loading.policy_folder import load_catalogue, load_policies
from tests.reference import parse_policy

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"^ *```yaml\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)]
POLICIES = [example for example in EXAMPLES if "extension" in example]
SCHEMA = policy_schema(load_catalogue(), managed_kinds())
HERE = {"name": "p", "extension": "oms-agent-linux"}


def as_json(policy: object) -> Any:
    """YAML has dates, JSON has texts."""
    return json.loads(json.dumps(policy, default=str))


def is_valid(policy: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft7Validator(SCHEMA).is_valid(as_json(policy)))


def test_there_are_examples() -> None:
    assert len(POLICIES) >= 9
    assert len(EXAMPLES) == len(POLICIES) + 2


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: "-".join(sorted(set(policy) - set(HERE))[:3]))
def test_every_example_is_a_policy(policy: dict[str, Any]) -> None:
    parse_policy(policy, "docs/policies.md", compile_rule)
    assert is_valid(policy)


def test_the_example_of_image_overrides_is_one() -> None:
    (images,) = [example for example in EXAMPLES if "images" in example]
    assert len(parse_overrides(images, "docs/policies.md").rules) == 2


def test_the_example_of_cases_holds(tmp_path: Path) -> None:
    (cases,) = [example for example in EXAMPLES if "cases" in example]
    (tmp_path / "linux.cases.yaml").write_text(yaml.safe_dump(cases))
    opting_out = next(
        policy for policy in POLICIES if "onboarding" in str(policy.get("rule")) and "scope" not in policy
    )
    (tmp_path / cases["policy"]).write_text(yaml.safe_dump(opting_out))
    assert main(["policy", "test", str(tmp_path)]) == 0
    policies, problems = load_policies(tmp_path, load_catalogue())
    assert (len(policies.policies), problems) == (1, ())


def test_every_key_is_on_the_page_and_in_the_schema() -> None:
    table = PAGE.split("## What a policy says")[1].split("##")[0]
    assert not [key for key in keys_of(PolicyFile) if f"`{key}`" not in table]
    assert list(SCHEMA["properties"]) == list(keys_of(PolicyFile))
    inner = (RolloutLimit, Canary, ChangeWindow, Exemption, ScheduleEntry, WorkspaceEntry)
    assert not [key for kind in inner for key in keys_of(kind) if key not in PAGE]


def test_every_command_of_the_page_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"onboard policy (\w+)", PAGE))
    for action in named:
        with pytest.raises(SystemExit, match="0"):
            main(["policy", action, "--help"])
    assert {"plan", "explain", "resume", "schema"} <= named


@pytest.mark.parametrize(
    "wrong",
    [
        {"efect": "disabled"},
        {"effect": "deploy"},
        {"extension": []},
        {"extension": [5]},
        {"extension": "no name"},
        {"scope": ["subscriptions/s"]},
        {"rule": {"field": "location", "equal": "x"}},
        {"rule": {"field": "location"}},
        {"rule": {"allOf": [], "field": "x", "equals": "y"}},
        {"rule": {"field": "location", "in": 3}},
        {"settings": {"workspaceID": "x"}},
        {"settings": {"stopOnMultipleConnections": "true"}},
        {"protectedSettings": {"key": "x"}},
        {"supportTable": "2001-01"},
        {"exemptions": [{"scope": "/", "expires": "2027-01-01"}]},
        {"waits": {"agent": {}}},
        {"waits": {"agent-ready": {"every": ["soon"]}}},
        {"brake": {"maxInstallsPerHour": 0}},
        {"brake": {"canary": {"percent": 100, "for": "24h"}}},
        {"changeWindow": {"from": "2:00", "to": "06:00"}},
        {"changeWindow": {"days": ["Sunday"], "from": "02:00", "to": "06:00"}},
        {"azurePolicy": ["linux"]},
        {"includeManaged": "yes"},
        {"includeManaged": ["aks-node", "aks"]},
        {"includeManaged": 1},
    ],
    ids=str,
)
def test_the_schema_marks_what_would_be_refused(wrong: dict[str, Any]) -> None:
    assert is_valid(HERE)
    assert not is_valid({**HERE, **wrong})


@pytest.mark.parametrize("include", [True, False, "aks-node", ["aks-node", "packer-build"]], ids=str)
def test_the_schema_takes_kinds_of_managed_machines(include: object) -> None:
    assert is_valid({**HERE, "includeManaged": include})


def test_the_kinds_of_managed_machines_on_the_page_are_those_of_the_data() -> None:
    assert main(["document", "--check", str(ROOT / "docs" / "policies.md")]) == 0
    table = PAGE.split("<!-- begin: managed -->")[1].split("<!-- end: managed -->")[0]
    assert [kind.name for kind in managed_kinds()] == re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)


def test_the_schema_takes_extensions_of_the_user_with_any_settings() -> None:
    assert is_valid({"name": "p", "extension": "inventory-agent", "settings": {"endpoint": "x"}})
