"""`onboard extension list` and `validate`, and what `onboard extension test` refuses before it starts anything."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.main import main

ROOT = Path(__file__).parents[3]
OWN: dict[str, Any] = {
    "name": "inventory",
    "publisher": "Contoso.Inventory",
    "type": "InventoryAgent",
    "version": "2.0",
    "resourceName": "Inventory",
    "os": "windows",
    "settings": {
        "type": "object",
        "required": ["endpoint"],
        "properties": {
            "endpoint": {"type": "string", "format": "uri"},
            "scan": {"type": "object", "properties": {"minutes": {"type": "integer", "minimum": 5}}},
            "auth.mode": {"enum": ["a", "b"]},
        },
    },
    "protectedSettings": {
        "type": "object",
        "required": ["token", "login"],
        "properties": {
            "token": {"type": "string"},
            "login": {
                "type": "object",
                "required": ["user", "key"],
                "properties": {"user": {"type": "string", "secret": False}, "key": {"type": "string"}},
            },
        },
    },
}
POLICY = {"name": "servers", "extension": "inventory", "settings": {"endpoint": "https://a.example"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONBOARDING_POLICIES", raising=False)
    (tmp_path / "policies/extensions").mkdir(parents=True)
    write(tmp_path / "policies/extensions/inventory.yaml", OWN)
    write(tmp_path / "policies/servers.yaml", {**POLICY, "effect": "auditIfNotExists"})
    return tmp_path / "policies"


def write(path: Path, value: object) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def listed(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, dict[str, Any]]:
    main(["extension", "list", "-o", "json", *more])
    return {each["name"]: each for each in json.loads(capsys.readouterr().out)}


def test_the_list_says_where_each_extension_is_from_and_what_uses_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listed(capsys)
    assert found["oms-agent-linux"]["origin"] == "shipped"
    assert found["oms-agent-linux"]["policies"] == []
    assert "protectedSettings.workspaceKey" in found["oms-agent-linux"]["secrets"]
    assert found["inventory"] == {
        "name": "inventory",
        "origin": "own",
        "file": "extensions/inventory.yaml",
        "replaces": [],
        "os": "Windows",
        "publisher": "Contoso.Inventory",
        "type": "InventoryAgent",
        "version": "2.0",
        "secrets": ["protectedSettings.token", "protectedSettings.login.key"],
        "policies": ["servers"],
        "error": "",
    }
    assert list(listed(capsys, "--own")) == ["inventory"]
    assert main(["extension", "list", "--own"]) == 0
    out = capsys.readouterr().out
    assert "inventory is from policies/extensions/inventory.yaml\n" in out
    assert "oms-agent-linux" not in out


def test_the_list_names_what_is_replaced_and_what_cannot_be_used(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "extensions/mine.yaml", {**OWN, "name": "oms-agent-linux", "type": "Other"})
    write(folder / "extensions/bad.yaml", {**OWN, "name": "bad", "os": "linus"})
    assert main(["extension", "list"]) == 1
    out = capsys.readouterr().out
    assert "policies/extensions/mine.yaml, which replaces the shipped oms-agent-linux\n" in out
    assert "cannot be used: unknown operating system 'linus' (extensions/bad.yaml:6: os); write linux or win" in out
    found = listed(capsys)
    assert (found["oms-agent-linux"]["origin"], found["oms-agent-linux"]["replaces"]) == ("own", ["oms-agent-linux"])
    assert found["bad"]["error"].startswith("unknown operating system 'linus'")
    assert main(["extension", "list", "-o", "csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["name"]: row["file"] for row in rows}["bad"] == "extensions/bad.yaml"


def test_an_empty_folder_gets_the_command_to_begin_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONBOARDING_POLICIES", str(tmp_path))
    assert main(["extension", "list"]) == 0
    assert "holds no extension of your own; `onboard extension new` makes one" in capsys.readouterr().out
    assert main(["extension", "validate"]) == 2
    assert "the folder holds no entry" in capsys.readouterr().err


def test_validate_names_each_bad_file_and_no_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extension", "validate"]) == 0
    assert capsys.readouterr().out == "1 file, 0 errors\n"
    write(folder / "extensions/bad.yaml", {**OWN, "name": "bad", "os": "linus"})
    write(folder / "extensions/twin.yaml", {**OWN, "name": "twin"})
    write(folder / "broken.yaml", {"name": "broken"})
    for named in ([], [str(folder)], [str(folder / "extensions")]):
        assert main(["extension", "validate", *named]) == 1
        bad, twin, counts = capsys.readouterr().out.splitlines()
        assert bad.startswith("unknown operating system 'linus' (")
        assert "extensions/bad.yaml:6: os)" in bad
        assert "InventoryAgent is already the handler of the extension 'inventory' (" in twin
        assert counts == "3 files, 2 errors"
    assert main(["extension", "validate", str(folder / "extensions/inventory.yaml")]) == 0
    elsewhere = folder.parent / "elsewhere.yaml"
    write(elsewhere, {"name": "x"})
    capsys.readouterr()
    assert main(["extension", "validate", str(elsewhere)]) == 1
    assert "missing key 'publisher'" in capsys.readouterr().out
    assert main(["extension", "validate", "nowhere"]) == 2


def test_validate_warns_of_secrets_that_would_be_public_and_of_a_missing_version(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    properties = {
        "api_key": {"type": "string"},
        "declared": {"type": "string", "secret": True},
        "customToken": {"type": "string", "secret": False},
        "login": {"type": "array", "items": {"type": "object", "properties": {"password": {}}}},
    }
    entry = {**OWN, "settings": {"type": "object", "properties": properties}}
    del entry["version"]
    write(folder / "extensions/inventory.yaml", entry)
    (folder / "servers.yaml").unlink()
    write(folder / "other.yaml", {"name": "other", "extension": "oms-agent-linux", "effect": "disabled"})
    assert main(["extension", "validate"]) == main(["policy", "validate"]) == 0
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(found) == 8
    assert found[:4] == found[4:]
    version, named, declared, inner = found[:4]
    assert "the entry has no version, and Azure refuses an extension of a VM without one" in version
    assert "the setting 'api_key' has the name of a secret" in named
    assert "settings.properties.api_key); move it to protectedSettings" in named
    assert "the setting 'declared' is secret, and ARM shows public settings" in declared
    assert "settings.properties.login.items.properties.password)" in inner


def test_a_shipped_entry_is_copied_to_be_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = folder / "extensions/oms-agent-linux.yaml"
    copy.touch()  # as a shell does before it runs the command whose output goes there
    assert main(["extension", "show", "oms-agent-linux"]) == 0
    copy.write_text(capsys.readouterr().out.replace("resourceName: OMSExtension", "resourceName: Ours"))
    assert main(["extension", "validate", str(copy)]) == 0
    capsys.readouterr()
    assert listed(capsys)["oms-agent-linux"]["replaces"] == ["oms-agent-linux"]
    assert main(["extension", "show", "oms-agent-linux"]) == 0
    assert "resourceName: Ours\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "unknown extension 'nope' (policy folder policies); known extensions: "),
        (["bad"], "the catalogue entry of the extension 'bad' cannot be used (policy folder policies); correct this "),
        (["policies/extensions/bad.yaml"], "unknown operating system 'linus' (policies/extensions/bad.yaml:6: os); "),
        (["inventory"], "inventory would refuse its settings: settings.endpoint is missing (--setting); give each"),
        (["inventory", "--setting", "endpoint=x"], "inventory would refuse its settings: settings.endpoint must be a"),
        (["inventory", "--setting", "endpont=x"], "unknown setting 'endpont' of inventory (--setting); known sett"),
        (["inventory", "--setting", "endpoint"], "'endpoint' has no value (--setting); write it as NAME=VALUE"),
        (["inventory", "--setting", "scan.minutes=1"], "inventory would refuse its settings: settings.endpoint is m"),
        (["inventory", "--setting", "scan=["], "the value of 'scan' cannot be read (--setting); write it as YAML or J"),
        (["inventory", "--setting", "auth.mode=c"], "inventory would refuse its settings: settings.endpoint is miss"),
        (
            ["inventory", "--setting", "token=x", "--setting", "login=3", "--setting", "login.key=3"],
            "'login.key' is in a setting that has a value (--setting); give one of them",
        ),
    ],
)
def test_a_trial_of_something_that_cannot_work_is_refused_at_once(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "extensions/bad.yaml", {**OWN, "name": "bad", "os": "linus"})
    (folder / "servers.yaml").unlink()  # it would give the endpoint
    assert main(["extension", "test", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"onboard extension: {said}")


def test_a_trial_needs_a_checkout(tmp_path: Path) -> None:
    """The package alone, as it is deployed, has no simulator beside it."""
    shutil.copytree(ROOT / "onboarding", tmp_path / "onboarding", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "onboarding", "extension", "test", "oms-agent-linux"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"onboard extension: the simulator is not beside the package in {tmp_path}; run it in a checkout of the"
        " project, after `make setup`\n"
    )
