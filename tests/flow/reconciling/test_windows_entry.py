"""A user's catalogue entry for Windows, in each command that reads the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.app import read_configuration
from onboarding.cli.main import main
from onboarding.loading.policy_folder import load_catalogue, load_catalogue_of
from onboarding.web.health import health
from tests.reference import check_query
from tests.windows_entry import ENTRY, POLICY

NAME = str(ENTRY["name"])
SERVER = "MicrosoftWindowsServer:WindowsServer:"
BARE = {**ENTRY, "name": "bare-windows", "type": "Bare", "supportTables": {}, "logs": []}
PAGE = "before\n<!-- begin: tables -->\nold\n<!-- end: tables -->\nafter\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    policies = tmp_path / "policies"
    (policies / "extensions").mkdir(parents=True)
    (policies / "extensions" / "windows.yaml").write_text(yaml.safe_dump(ENTRY))
    (policies / "extensions" / "bare.yaml").write_text(yaml.safe_dump(BARE))
    (policies / "windows.yaml").write_text(yaml.safe_dump(POLICY))
    monkeypatch.setenv("ONBOARDING_POLICIES", str(policies))
    return policies


@pytest.mark.parametrize(
    ("extension", "table", "sku", "code"),
    [
        (NAME, "", "2019-datacenter-gensecond", 0),
        (NAME, "", "2008-R2-SP1", 1),
        (NAME, "listed", "2025-datacenter", 1),
        (NAME, "any", "2008-R2-SP1", 0),
        ("bare-windows", "", "2008-R2-SP1", 0),
        ("bare-windows", "", "vnext", 0),
        ("oms-agent-linux", "", "2019-Datacenter", 1),
    ],
)
def test_check_uses_the_support_table_of_the_entry(
    folder: Path, extension: str, table: str, sku: str, code: int
) -> None:
    table_option = ["--support-table", table] if table else []
    assert main(["check", "--extension", extension, *table_option, "--image", f"{SERVER}{sku}"]) == code


def test_check_shows_the_release(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--extension", NAME, "--image", f"{SERVER}2019-Datacenter", "--format", "json"])
    answer = json.loads(capsys.readouterr().out)
    assert (answer["distribution"], answer["release"], answer["os_type"]) == (
        "windows",
        "Windows Server 2019",
        "Windows",
    )
    main(["check", "--extension", "bare-windows", "--image", f"{SERVER}2019-Datacenter"])
    out = capsys.readouterr().out
    assert "says Windows Server 2019; an extension without a table supports any Windows" in out
    assert "1 checked against any Windows: 1 supported" in out


def test_the_http_endpoint_answers_for_an_entry_without_a_table(folder: Path) -> None:
    catalogue = load_catalogue_of(folder).entries
    body = check_query({"extension": "bare-windows", "image": f"{SERVER}2012-Datacenter"}, catalogue)
    assert (body["verdict"], body["row"], body["supportTable"]) == ("supported", "any Windows", None)


def test_a_policy_that_names_a_table_of_an_entry_without_one_is_named(folder: Path) -> None:
    (folder / "windows.yaml").write_text(yaml.safe_dump({**POLICY, "extension": "bare-windows", "supportTable": "x"}))
    environment = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "ONBOARDING_POLICIES": str(folder)}
    problems: list[str] = health(read_configuration(environment))["problems"]
    assert "bare-windows has no support table 'x' (windows.yaml:7: supportTable); remove it" in problems


def test_the_page_shows_own_entries_and_tables(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert main(["document", str(page)]) == 0
    text = page.read_text()
    assert "### `oms-agent-linux`, table `2017-04`, the default" in text
    assert "| Windows | >= Server 2012 R2, 10, 11 23H2 | x86_64 |" in text
    assert "### `monitoring-agent-windows`, table `any`\n\nAs of 2026-01-15. Source: a test.\n\nAny Windows.\n" in text
    assert "### `bare-windows`, without a table\n\nAny Windows.\n" in text
    assert main(["document", str(page), "--check"]) == 0


def test_the_schema_knows_own_entries(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    assert main(["policy", "schema", str(file)]) == 0
    schema: dict[str, Any] = json.loads(file.read_text())
    (known, own, several) = schema["properties"]["extension"]["anyOf"]
    assert known["enum"] == [*load_catalogue(), "bare-windows", NAME]
    assert several["items"] == {"anyOf": [known, own]}
    tables = {
        each["if"]["properties"]["extension"]["const"]: each["then"]["properties"]["supportTable"]
        for each in schema["allOf"]
    }
    assert tables[NAME] == {"enum": ["2026-01", "any", "listed", None]}
    assert tables["bare-windows"] == {"enum": [None]}


def test_pages_are_generated_from_all_entries_or_not_at_all(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "extensions" / "bare.yaml").write_text("name: broken\n")
    (tmp_path / "page.md").write_text(PAGE)
    assert main(["document", str(tmp_path / "page.md")]) == 2
    assert main(["policy", "schema", str(tmp_path / "schema.json")]) == 2
    assert (
        capsys.readouterr().err.count(
            "missing key 'publisher' in the catalogue entry (extensions/bare.yaml:1: publisher); add"
        )
        == 2
    )
    assert (tmp_path / "page.md").read_text() == PAGE
    assert not (tmp_path / "schema.json").exists()


def _template(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    settings = folder / "settings.txt"
    settings.write_text(json.dumps({"Values": {"ONBOARDING_POLICIES": str(folder)}}))
    assert main(["template", "--settings", str(settings), "--complete", *arguments]) == 0
    return capsys.readouterr().out


def test_a_complete_template_creates_a_windows_vm(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = json.loads(_template(capsys, folder))
    (machine,) = made["resources"]
    profile = machine["properties"]["osProfile"]
    assert profile["windowsConfiguration"] == {"provisionVMAgent": True}
    assert profile["adminPassword"] == "[parameters('adminPassword')]"
    assert "linuxConfiguration" not in profile
    assert made["parameters"]["adminPassword"]["type"] == "secureString"
    used = set(json.dumps(machine).split("parameters('")[1:])
    assert {name.partition("'")[0] for name in used} == set(made["parameters"])
    assert "@secure()\nparam adminPassword string\n" in _template(capsys, folder, "--format", "bicep")
