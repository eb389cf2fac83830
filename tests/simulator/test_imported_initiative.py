"""An initiative with the shape of the built-in ones, imported as it is, onboards the demo's fleet: identity, agent and
association, through the functions host and the simulated cloud."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.main import main
from simulator.demo.today import RULE, TODAY
from tests.shared_samples import SAMPLES, needs_samples
from tests.unit.policy.initiative_bodies import (
    association_details,
    definition,
    extension_details,
    identity_details,
    image_block,
    initiative,
)

ROOT = Path(__file__).parents[2]
IDENTITY = (
    f"/subscriptions/{TODAY}/resourceGroups/rg-agents/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
)

pytestmark = pytest.mark.timeout(150)


def demo(policies: Path, **settings: str) -> dict[str, Any]:
    given = [word for name, value in settings.items() for word in ("--setting", f"{name}={value}")]
    command = [sys.executable, "-m", "simulator", "demo", "--vms", "4", "--json", "--policies", str(policies), *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=140, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    assert [check for check in report["checks"] if not check["ok"]] == []
    return report


def outcomes(report: dict[str, Any], extension: str, *, windows: bool) -> set[str]:
    """The outcomes of the extension on the part of the fleet that gets the agent of today."""
    rows = [row for row in report["rows"] if row["Extension"] == extension and TODAY in row["ResourceId"]]
    return {row["Outcome"] for row in rows if ("-win" in row["VmName"]) is windows}


def test_the_steps_of_an_initiative_are_done_on_every_machine_that_it_selects(tmp_path: Path) -> None:
    settings = {
        "authentication": {
            "managedIdentity": {"identifier-name": "mi_res_id", "identifier-value": "[parameters('id')]"}
        }
    }
    linux = extension_details(
        "Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent", settings, id="[parameters('identityResourceId')]"
    )
    images = image_block("Canonical", "Debian", "RedHat")
    here = {"field": "id", "contains": TODAY}
    members = (
        definition("agent", [here, images], linux, images=[], identityResourceId=""),
        definition("identity", [], identity_details(), identityResourceId=""),
        definition("association", [here, images], association_details(), images=[], dcrResourceId=None),
    )
    (tmp_path / "definitions").mkdir()
    for each in members:
        (tmp_path / "definitions" / f"{each['name']}.json").write_text(json.dumps(each))
    whole = initiative(
        ("Identity", "identity", {}),
        ("DeployAgent", "agent", {}),
        ("Associate", "association", {"dcrResourceId": "[parameters('dcr')]"}),
        dcr=None,
    )
    (tmp_path / "set.json").write_text(json.dumps(whole))
    policies = tmp_path / "policies"
    assert main(["policy", "import", str(tmp_path / "set.json"), "-o", str(policies)]) == 0
    assert main(["policy", "validate", str(policies)]) == 0
    report = demo(policies, DCR=RULE, IDENTITY_RESOURCE_ID=IDENTITY)
    assert outcomes(report, "azure-monitor-agent-linux", windows=False) == {"Installed"}
    assert outcomes(report, "azure-monitor-agent-linux", windows=True) == {"OutOfScope"}


@needs_samples
def test_the_built_in_initiative_imported_unchanged_onboards_the_fleet(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    file = SAMPLES / "initiatives" / "Monitoring__AzureMonitor_VM_AMA_new.json"
    given = ("--parameter", f"dcrResourceId={RULE}", "--parameter", "scopeToSupportedImages=false")
    assert main(["policy", "import", str(file), "-o", str(policies), *given]) == 0
    assert main(["policy", "validate", str(policies)]) == 0
    named = {tuple(yaml.safe_load(path.read_text()).get("dataCollectionRules", ())) for path in policies.glob("*.yaml")}
    assert named == {(RULE,), ()}
    report = demo(policies, USER_ASSIGNED_IDENTITY_RESOURCE_ID=IDENTITY)
    for system, windows in (("linux", False), ("windows", True)):
        assert outcomes(report, f"azure-monitor-agent-{system}", windows=windows) == {"Installed"}
