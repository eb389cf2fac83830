"""`-o/--output`: the same forms for every command, and the older spellings with their meanings."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from onboarding.cli.main import main
from onboarding.cli.output import Form, open_records

VM: dict[str, Any] = {
    "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web01",
    "name": "web01",
    "location": "westeurope",
    "properties": {
        "storageProfile": {
            "imageReference": {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS"},
            "osDisk": {"osType": "Linux"},
        }
    },
}
DEFINITION = {
    "mode": "Indexed",
    "policyRule": {"if": {"field": "location", "equals": "westeurope"}, "then": {"effect": "audit"}},
}
CASES = """\
policy: ../policies/linux-monitoring.yaml
cases:
  - {name: skipped, vm: {tags: {onboarding: skip}}, expect: {selected: true}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vms.json").write_text(json.dumps([VM, {**VM, "name": "web02", "location": "northeurope"}]))
    (tmp_path / "definition.json").write_text(json.dumps(DEFINITION))
    (tmp_path / "broken.yaml").write_text("name: broken\nextension: nothing\n")
    policy = next(Path("policies").glob("*.yaml")).absolute()
    (tmp_path / "skip.cases.yaml").write_text(CASES.replace("../policies/linux-monitoring.yaml", str(policy)))
    return tmp_path


COMMANDS = {
    "check": ["check", "--image", "Canonical:UbuntuServer:16.04-LTS", "--image", "contoso:own:1"],
    "diagnose": ["diagnose", "Non-zero exit code: 51"],
    "errors": ["errors", "51"],
    "evaluate": ["policy", "evaluate", "--definition", "{folder}/definition.json", "--vm", "{folder}/vms.json"],
    "explain": ["policy", "explain", "--policies", "policies", "--vm", "{folder}/vms.json"],
    "plan": ["policy", "plan", "--policies", "policies", "--all", "--vm-list", "{folder}/vms.json"],
    "validate": ["policy", "validate", "{folder}/broken.yaml"],
    "test": ["policy", "test", "{folder}/skip.cases.yaml"],
}
LINES = ("check", "diagnose", "errors", "evaluate", "explain")  # whose --format json was one object on each line
DOCUMENTS = ("plan", "validate", "test")
FLAT = tuple(name for name in COMMANDS if name != "explain")


@pytest.fixture
def output(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(name: str, *more: str) -> str:
        main([each.replace("{folder}", str(folder)) for each in (*COMMANDS[name], *more)])
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_the_default_is_the_table(output: Any, name: str) -> None:
    assert output(name) == output(name, "-o", "table") == output(name, "--output", "table") != ""


@pytest.mark.parametrize("name", LINES)
def test_the_older_json_of_these_commands_is_one_object_on_each_line(output: Any, name: str) -> None:
    text = output(name, "--format", "json")

    assert text == output(name, "-o", "jsonl")
    assert json.loads(output(name, "-o", "json")) == [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_older_json_of_the_others_is_one_document(output: Any, name: str) -> None:
    text = output(name, "--format", "json")

    assert text == output(name, "-o", "json")
    assert isinstance(json.loads(text), dict)
    assert [json.loads(line) for line in output(name, "-o", "jsonl").splitlines()]


@pytest.mark.parametrize("name", FLAT)
def test_csv_has_a_line_of_names_and_a_row_for_each_record(output: Any, name: str) -> None:
    names, *rows = csv.reader(io.StringIO(output(name, "-o", "csv")))

    assert all(names)
    assert rows
    assert {len(row) for row in rows} == {len(names)}


def test_the_csv_of_check_is_that_of_the_older_spelling(output: Any) -> None:
    assert output("check", "-o", "csv") == output("check", "--format", "csv")


def test_values_of_csv_are_those_of_json(output: Any) -> None:
    (row, _) = csv.DictReader(io.StringIO(output("plan", "-o", "csv")))
    first = json.loads(output("plan", "-o", "jsonl").splitlines()[0])

    assert row["vm"] == first["vm"] == VM["id"]
    assert row["changed"] == str(first["changed"]).lower()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["policy", "explain", "--vm", "x", "-o", "csv"],
            "--output csv is not available for onboard policy explain; use",
        ),
        (["template", "-o", "csv"], "--output csv is not available for onboard template; use json"),
        (["check", "-o", "xml"], "--output xml is not a form of output; use table, json, jsonl or csv"),
        (["check", "--format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_a_form_that_a_command_does_not_have_is_said(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["replay", "--poison"], ["policy", "resume", "linux"]])
def test_a_part_of_a_command_that_prints_no_records_has_the_table_alone(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "-o", "json"]) == 2
    assert "--output json is not available for" in (error := capsys.readouterr().err)
    assert error.endswith("(--output); use table\n")


def test_no_record_is_still_a_document_and_a_line_of_names(capsys: pytest.CaptureFixture[str]) -> None:
    for form in (Form.JSON, Form.JSONL, Form.CSV):
        open_records(form, ("a", "b")).end()

    assert capsys.readouterr().out == "[]\na,b\n"


def test_cells_of_csv_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("flag", "time", "names", "parts", "nothing", "formula")
    records = open_records(Form.CSV, columns)
    time = datetime(2026, 11, 20, 9, 14, tzinfo=UTC)
    records.write({"flag": True, "time": time, "names": ["x", "y"], "parts": {"a": 1}, "formula": "=1+1"})

    _, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert row == ["true", "2026-11-20T09:14:00+00:00", "x; y", '{"a": 1}', "", "'=1+1"]
