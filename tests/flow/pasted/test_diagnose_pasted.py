"""What people paste into `onboard diagnose`, tool by tool; the cases are in `pasted_cases.yaml`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from onboarding.cli.failures.diagnose_input import read_evidence
from onboarding.cli.io import BadInput
from onboarding.cli.main import main
from onboarding.domain.failures.classification import Cause, classify
from onboarding.domain.failures.evidence import Evidence
from onboarding.loading.policy_folder import load_catalogue

type Capture = pytest.CaptureFixture[str]
CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("pasted_cases.yaml").read_text(encoding="utf-8"))


def ask(capsys: Capture, given: Any) -> list[dict[str, Any]]:
    text = given if isinstance(given, str) else json.dumps(given)
    assert main(["diagnose", "--format", "json", text]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_pasted_text_is_read(capsys: Capture, case: dict[str, Any]) -> None:
    assert [[answer["cause"], answer["exit_code"]] for answer in ask(capsys, case["given"])] == case["want"]


def _renamed(value: Any, name: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name(key): _renamed(inner, name) for key, inner in value.items()}
    return [_renamed(inner, name) for inner in value] if isinstance(value, list) else value


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "PowerShell": lambda key: key[:1].upper() + key[1:],
    "Python": _snake,
    "lower case": str.lower,
}
VIEWS = [case for case in CASES if not isinstance(case["given"], str) and "error" not in json.dumps(case["given"])]
VIEWS = [case for case in VIEWS if "tatuses" in json.dumps(case["given"])]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("case", VIEWS, ids=lambda case: case["name"])
def test_the_spelling_of_the_keys_does_not_matter(capsys: Capture, case: dict[str, Any], spelling: str) -> None:
    answers = ask(capsys, _renamed(case["given"], SPELLINGS[spelling]))
    assert [[answer["cause"], answer["exit_code"]] for answer in answers] == case["want"]


OMS = load_catalogue()["oms-agent-linux"].errors
MESSAGES = {
    "Cannot modify extensions in the VM when the VM is not running.": ("vm-not-running", None),
    "VM 'web01' has not reported status for VM agent or extensions. Please verify the VM has a running VM agent.": (
        "vm-agent-unreachable",
        None,
    ),
    "VM has reported a failure when processing extension 'OMSExtension' (publisher"
    " 'Microsoft.EnterpriseCloud.Monitoring' and type 'OmsAgentForLinux'). Error"
    " message: 'Install failed with exit code 19'": (
        "package-install-failed",
        19,
    ),
    "[ExtensionOperationError] Non-zero exit code: 62, /var/lib/waagent/"
    "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux-1.13.33/omsagent_shim.sh -install": (
        "missing-dependency",
        62,
    ),
    "Install failed with exit code 55 because the package manager on the VM is currently locked: please wait": (
        "package-manager-locked",
        55,
    ),
    "The client 'a' with object id 'b' does not have authorization to perform action"
    " 'Microsoft.Compute/virtualMachines/extensions/write' over scope '/subscriptions/1' or the scope is invalid.": (
        "not-authorized",
        None,
    ),
}


def _by_words(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width)


def _anywhere(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]


FRAMES = {
    "a console": lambda lines: "\n".join(lines),
    "a console of Windows": lambda lines: "\r\n".join(lines),
    "a box": lambda lines: "╷\n" + "\n".join(f"│ {line}" for line in lines) + "\n╵",
    "PowerShell's bars": lambda lines: "Line |\n   1 |  x\n     |  ~\n" + "\n".join(f"     | {line}" for line in lines),
    "a build's log": lambda lines: "\n".join(f"2024-05-06T07:08:09.123Z ##[error]{line}" for line in lines),
    "a system's log": lambda lines: "\n".join(f"Nov  9 01:02:03 web01 waagent[12]: {line}" for line in lines),
    "Packer": lambda lines: "\n".join(f"==> azure-arm: {line}" for line in lines),
    "a job's name": lambda lines: "\n".join(f"[deploy] {line}" for line in lines),
    "a service's name": lambda lines: "\n".join(f"deploy-1  | {line}" for line in lines),
    "colours": lambda lines: "\n".join(f"\x1b[31;1m{line}\x1b[0m" for line in lines),
    "a quotation": lambda lines: "\n".join(f"> {line}" for line in lines),
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("broken", [_by_words, _anywhere])
@pytest.mark.parametrize("message", MESSAGES)
def test_line_breaks_and_frames_do_not_change_the_diagnosis(
    message: str, broken: Callable[[str, int], list[str]], frame: str
) -> None:
    for width in (40, 50, 79, 80, 100, 120):
        [evidence] = read_evidence(FRAMES[frame](broken(message, width)), "x")
        failure = classify(evidence, OMS, datetime.now(UTC))
        assert (failure.cause, failure.exit_code) == MESSAGES[message], width


QUOTED = [
    "The client 'a' does not have authorization to perform action 'A/read' over scope '/s' or the scope is invalid.",
    "Resource 'x' was disallowed by policy.",
    "The scope 'x' cannot perform write operation because following scope(s) are locked: 'x'.",
    "The subscription is not registered to use namespace 'Microsoft.Compute'.",
    "The Resource 'Microsoft.Compute/virtualMachines/other' under resource group 'g' was not found.",
    "The VM is not running.",
]


@pytest.mark.parametrize("words", QUOTED)
def test_an_error_that_a_handler_quotes_is_not_an_error_of_azure(words: str) -> None:
    code = "VMExtensionProvisioningError"
    evidence = Evidence.from_body(200, {"error": {"code": code, "message": f'Error message: "{words}"'}})
    failure = classify(evidence, OMS, datetime.now(UTC))
    assert (failure.cause, failure.scope_wide) == (Cause.UNKNOWN, False)
    assert classify(Evidence(message=words), OMS, datetime.now(UTC)).cause is not Cause.UNKNOWN


KEYS = (
    "statuses Statuses status code Code level displayStatus message Message instanceView instance_view vmAgent VMAgent"
    " extensions extensionHandlers properties provisioningState type publisher name value error details substatuses"
    " formattedMessage operation aggregateStatus handlerAggregateStatus runtimeSettingsStatus settingsStatus"
)
NAMES = st.sampled_from(KEYS.split())
TEXTS = st.sampled_from(
    (
        *("ProvisioningState/failed/51", "ProvisioningState/succeeded", "PowerState/running", "Failed", "error"),
        *("@{Code=a; Message=b}", "@{", "System.Object[]", "A.B.C", "exit code 5", "", "17", "-", "²", "Enable"),
    )
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4) | st.lists(VALUES, max_size=3) | st.text(max_size=60))
def test_any_pasted_text_is_read_or_refused(value: Any) -> None:
    try:
        for evidence in read_evidence(value if isinstance(value, str) else json.dumps(value), "x"):
            assert classify(evidence, OMS, datetime.now(UTC)).meaning
    except BadInput:
        pass
