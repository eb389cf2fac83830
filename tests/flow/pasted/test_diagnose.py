"""`onboard diagnose`, from the pasted text to the printed answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from onboarding.cli.main import main
from onboarding.domain.failures.classification import FailureClass
from onboarding.loading.safe_reader import MAX_BYTES
from tests.shared_samples import needs_samples, read_lines

type Capture = pytest.CaptureFixture[str]
KEYS = {"class", "cause", "exit_code", "meaning", "advice", "code", "retry_after", "scope_wide", "max_attempts"}
KEYS |= {"handler", "table"}
NOT_RUNNING = "Cannot modify extensions in the VM when the VM is not running."


@pytest.fixture
def diagnose(capsys: Capture) -> Any:
    """Run the command on a text, and read its JSON."""

    def run(text: str, *arguments: str) -> list[dict[str, Any]]:
        assert main(["diagnose", "--format", "json", *arguments, text]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


FORMS = [
    json.dumps({"http_status": 409, "code": "OperationNotAllowed", "message": NOT_RUNNING, "headers": {}}),
    json.dumps({"error": {"code": "OperationNotAllowed", "message": NOT_RUNNING}}),
    json.dumps({"status": "Failed", "error": {"code": "OperationNotAllowed", "message": NOT_RUNNING}}, indent=2),
    json.dumps({"message": NOT_RUNNING}),
    json.dumps([{"message": NOT_RUNNING}]),
    json.dumps([NOT_RUNNING]),
    json.dumps({"statuses": [{"code": "ProvisioningState/failed/0", "message": NOT_RUNNING}]}),
    json.dumps({"properties": {"instanceView": {"statuses": [{"code": "x", "message": NOT_RUNNING}]}}}),
    f"ERROR: (OperationNotAllowed) {NOT_RUNNING}\nCode: OperationNotAllowed\nMessage: {NOT_RUNNING}",
    f'{{"error": {{"code": "OperationNotAllowed", "message": "{NOT_RUNNING}',
    NOT_RUNNING,
]


@pytest.mark.parametrize("text", FORMS)
def test_every_form_of_input_is_understood(diagnose: Any, text: str) -> None:
    [answer] = diagnose(text)
    assert set(answer) == KEYS
    assert (answer["class"], answer["cause"], answer["exit_code"]) == ("waiting", "vm-not-running", None)


def test_each_object_gives_one_line_in_its_order(diagnose: Any) -> None:
    objects = [{"http_status": 429, "code": ""}, {"message": NOT_RUNNING}, {"http_status": "503"}]
    causes = ["throttled", "vm-not-running", "platform-error"]
    assert [answer["cause"] for answer in diagnose(json.dumps(objects))] == causes
    assert [answer["cause"] for answer in diagnose("\n".join(map(json.dumps, objects)))] == causes


def test_the_wait_and_the_reach_are_printed(diagnose: Any) -> None:
    [throttled, denied] = diagnose(
        json.dumps([{"http_status": 429, "headers": {"Retry-After": "1200"}}, {"http_status": 403}])
    )
    assert (throttled["retry_after"], throttled["scope_wide"]) == (1200, False)
    assert (denied["retry_after"], denied["scope_wide"]) == (None, True)


def test_the_handler_that_the_text_names_chooses_the_table(diagnose: Any) -> None:
    line = "Non-zero exit code: 17, /var/lib/waagent/{}-1.2.3/x -install"
    assert diagnose(line.format("Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"))[0]["cause"] != "unknown"
    assert diagnose(line.format("Contoso.Agent.Linux"))[0]["cause"] == "unknown"
    assert diagnose(line.format("Contoso.Agent.Linux"), "--extension", "oms-agent-linux")[0]["cause"] != "unknown"


def test_standard_input_is_read_whatever_bytes_it_has() -> None:
    command = [sys.executable, "-m", "onboarding.cli.main", "diagnose", "-", "--format", "json"]
    text = b'\xef\xbb\xbf{"message": "\xff no space left on device"}\n'
    done = subprocess.run(command, input=text, capture_output=True, check=True, timeout=30)
    assert json.loads(done.stdout)["cause"] == "low-disk-space"


def test_people_get_the_meaning_and_the_advice(capsys: Capture) -> None:
    assert main(["diagnose", "Install failed with exit code 62"]) == 0
    text = capsys.readouterr().out
    assert "Missing tar program" in text
    assert "Install tar." in text
    assert "exit code 62" in text


def test_a_file_may_be_given_by_its_name(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "0.status"
    file.write_text(json.dumps([{"version": 1, "status": {"status": "error", "code": 62, "operation": "Install"}}]))
    assert main(["diagnose", "--format", "json", str(file)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["cause"], answer["exit_code"]) == ("missing-dependency", 62)


@pytest.mark.parametrize("name", ["/nowhere/0.status", "./nowhere", "~/nowhere", "nowhere/0.status", "C:\\nowhere"])
def test_the_name_of_a_missing_file_is_not_read_as_a_message(capsys: Capture, name: str) -> None:
    assert main(["diagnose", name]) == 2
    assert f"{name!r} is not there; give a file that is there, the message itself" in capsys.readouterr().err


def test_a_folder_and_an_unreadable_file_are_named(capsys: Capture, tmp_path: Path) -> None:
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    (tmp_path / "large").write_bytes(b"x" * (MAX_BYTES + 1))
    assert main(["diagnose", str(tmp_path / "large")]) == 2
    assert "is larger than" in capsys.readouterr().err


SUCCESS = json.dumps({"provisioningState": "Succeeded", "type": "x/extensions"})


def test_input_without_a_failure_is_reported(capsys: Capture) -> None:
    assert main(["diagnose", SUCCESS]) == 0
    assert "nothing failed" in capsys.readouterr().out
    assert main(["diagnose", "--format", "json", SUCCESS]) == 0
    output = capsys.readouterr()
    assert (output.out, "nothing failed" in output.err) == ("", True)


def test_output_that_powershell_cut_off_is_not_a_success(capsys: Capture) -> None:
    statuses = "Microsoft.Azure.Management.Compute.Models.InstanceViewStatus"
    view = {"Name": "w", "VMAgent": {"Statuses": [statuses]}, "Extensions": [{"Name": "x", "Statuses": [statuses]}]}
    assert main(["diagnose", json.dumps(view)]) == 2
    assert "ConvertTo-Json -Depth 10" in capsys.readouterr().err


OTHERS = (
    "VM has reported a failure when processing extension 'e' (publisher 'Contoso' and type 'Edr'). Error message: {}"
)


def test_an_unknown_failure_is_shown_in_its_own_words_and_without_its_secrets(capsys: Capture, diagnose: Any) -> None:
    [answer] = diagnose(OTHERS.format("'Enable failed with exit code 62, --password hunter22'"))
    assert (answer["cause"], answer["handler"], answer["table"]) == ("unknown", "Contoso.Edr", None)
    assert "Enable failed with exit code 62" in answer["meaning"]
    assert "hunter22" not in answer["meaning"]
    assert main(["diagnose", OTHERS.format("'exit code 62'")]) == 0
    assert "Contoso.Edr, which is not in the catalogue" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("code", [2, 5, 9, 10, 17, 19, 20, 52, 53, 55, 56, 60, 62, 65])
def test_an_exit_code_is_not_explained_by_the_table_of_another_vendor(diagnose: Any, code: int) -> None:
    [answer] = diagnose(OTHERS.format(f"'Enable failed with exit code {code}'"))
    assert (answer["cause"], answer["exit_code"]) == ("unknown", code)


def test_the_table_is_named_where_the_text_names_no_handler(capsys: Capture) -> None:
    assert main(["diagnose", "Install failed with exit code 62"]) == 0
    assert "as a failure of oms-agent-linux, as the text names no handler" in " ".join(capsys.readouterr().out.split())


BAD = [
    (["diagnose", "  "], "the input is empty (TEXT); give"),
    (["diagnose", "--extension", "nope", "x"], "unknown extension 'nope' (--extension); known extensions: "),
    (["diagnose", '{"message": "x"}\n17'], "17 is not an error (TEXT, item 2); give objects"),
    (["diagnose", "\ufffdPNG\r\n\x1a\n\x00\x00\x00\rIHDR"], "the input is not a text (TEXT); give"),
    (
        ["diagnose", '{"Exception": "Microsoft.Azure.Commands.Common.X", "State": "Failed"}'],
        "PowerShell cut the failure off (TEXT, item 1); print it with ConvertTo-Json -Depth 10",
    ),
]


@pytest.mark.parametrize(("arguments", "problem"), BAD)
def test_bad_input_is_named_with_its_place(capsys: Capture, arguments: Sequence[str], problem: str) -> None:
    assert main(arguments) == 2
    assert problem in capsys.readouterr().err


@needs_samples
def test_the_class_of_real_arm_errors_is_right(diagnose: Any) -> None:
    samples = read_lines("arm_errors.jsonl")
    answers = diagnose("\n".join(json.dumps(sample) for sample in samples))
    wrong = [
        sample["id"]
        for sample, answer in zip(samples, answers, strict=True)
        if answer["class"] not in (sample["expected_class"], *sample.get("also_acceptable", ()))
    ]
    assert not wrong
    assert all(answer["max_attempts"] for answer in answers if answer["class"] == FailureClass.TRANSIENT)


@needs_samples
def test_the_cause_of_real_extension_messages_is_right(diagnose: Any) -> None:
    samples = read_lines("extension_status.jsonl")
    answers = diagnose("\n".join(json.dumps({"message": sample["message"]}) for sample in samples))
    expected = [(sample["expected_meaning"].split(":")[0], sample["exit_code"]) for sample in samples]
    assert [(answer["cause"], answer["exit_code"]) for answer in answers] == expected
