"""What failures of the Azure Monitor Agent are taken for; the cases are in `azure_monitor_agent_cases.yaml`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.failures.diagnose_input import read_evidence
from onboarding.domain.failures.classification import Cause, ErrorTable, Failure, FailureClass, classify
from onboarding.loading.policy_folder import load_catalogue
from tests.shared_samples import needs_samples, read_lines

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "azure_monitor_agent_cases.yaml").read_text(encoding="utf-8")
)
TABLES = {system: load_catalogue()[f"azure-monitor-agent-{system}"].errors for system in ("linux", "windows")}
OMS = load_catalogue()["oms-agent-linux"].errors


def diagnosed(text: str, table: ErrorTable) -> Failure | None:
    """The failure in a text; None if it reports none."""
    return next((classify(evidence, table, NOW) for evidence in read_evidence(text, "a test")), None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['entry']}-{case['cause']}-{case.get('exitCode')}")
def test_failures_of_the_agent(case: dict[str, Any]) -> None:
    failure = diagnosed(case["text"], TABLES[case["entry"]])
    found = (failure.cause, failure.exit_code) if failure else ("none", None)
    assert found == (case["cause"], case.get("exitCode"))


def test_no_advice_for_the_agent_speaks_of_another_extension() -> None:
    failures = [failure for case in CASES if (failure := diagnosed(case["text"], TABLES[case["entry"]])) is not None]
    advice = " ".join(failure.advice for failure in failures)
    assert "OMS" not in advice
    assert "stopOnMultipleConnections" not in advice
    assert "omsagent" not in advice


def test_the_same_failure_has_each_extensions_own_advice() -> None:
    text = "Install failed due to low disk space"
    advice = [failure.advice for table in (OMS, *TABLES.values()) if (failure := diagnosed(text, table))]
    assert ["/var, /etc and /opt" in each for each in advice] == [True, False, False]
    assert ["/var/opt/microsoft/azuremonitoragent" in each for each in advice] == [False, True, False]


def test_a_missing_identity_concerns_the_vm_alone_and_refused_settings_all() -> None:
    identity = diagnosed("Failed to get MSI token from IMDS endpoint: http://169.254.169.254", TABLES["linux"])
    settings = diagnosed('Enable,failed,53,Parameter "address" is required in proxy public setting', TABLES["linux"])
    arc = diagnosed("Enable,failed,53,Failed to get Arc autonomous endpoints. timed out", TABLES["linux"])
    assert identity is not None
    assert settings is not None
    assert arc is not None
    assert [failure.scope_wide for failure in (identity, settings, arc)] == [False, True, False]


@needs_samples
def test_the_labelled_failures_agree_with_their_labels() -> None:
    """The labels are older than the cause `identity-missing`, which they call a bad configuration."""
    rows = read_lines("ama_status.jsonl")
    causes = classes = 0
    for row in rows:
        failure = diagnosed(row["message"], TABLES["linux"])
        cause = failure.cause if failure else None
        kind = failure.kind if failure else FailureClass.ALREADY_DONE
        labels = {row["expected_cause"], *row.get("also_acceptable", [])}
        if Cause.BAD_CONFIGURATION in labels:
            labels.add(Cause.IDENTITY_MISSING)
        causes += cause in labels
        classes += kind in {row["expected_class"], *row.get("also_acceptable_class", [])}
    assert causes >= 0.9 * len(rows)
    assert classes >= 0.95 * len(rows)
