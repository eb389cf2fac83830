"""`onboard policy validate` and `test`: errors of policies, also those that only the catalogue shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboarding.cli.main import main
from onboarding.domain.masking import mask

GUID = "6f680a37-00c6-41c7-a93f-1437e3462574"
ENTRY: dict[str, Any] = {
    "name": "probe-linux",
    "publisher": "Fabrikam.Probe",
    "type": "ProbeLinux",
    "version": "6.0",
    "resourceName": "Probe",
    "osType": "Linux",
    "settings": {
        "site": {"required": True},
        "tenant": {"format": "guid"},
        "verbose": {"type": "boolean"},
        "ingest": {"secret": True},
    },
    "protectedSettings": {"api_key": {"required": True}, "note": {"secret": False}},
    "supportTables": {"2026-01": {"date": "2026-01-15", "source": "s", "versions": {"ubuntu": ["22.04"]}}},
}
KEY = "0123456789abcdef0123456789abcdef"
GOOD: dict[str, Any] = {
    "name": "probe",
    "extension": "probe-linux",
    "settings": {"site": "eu.example", "tenant": GUID, "verbose": True, "ingest": "{INGEST}"},
    "protectedSettings": {"api_key": "{PROBE_API_KEY}", "note": "plain"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "extensions").mkdir()
    write(tmp_path / "extensions" / "probe.yaml", ENTRY)
    return tmp_path


def write(path: Path, value: object) -> Path:
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    return path


def line_of(path: Path, start: str) -> int:
    """The number of the line that begins with that text, apart from spaces."""
    lines = path.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(start))


def validate(*paths: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    code = main(["policy", "validate", *map(str, paths), "--format", "json"])
    errors: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["errors"]
    assert code == (1 if errors else 0)
    return errors


def test_a_policy_that_fits_its_extension_has_no_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "p.yaml", GOOD)
    assert validate(folder, capsys=capsys) == []
    assert validate(folder / "p.yaml", folder / "extensions", capsys=capsys) == []


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        ({"extension": "nope"}, "extension", ["unknown extension 'nope'", "oms-agent-linux, probe-linux"]),
        ({"extension": "Probe-Linx"}, "extension", ["did you mean 'probe-linux'?"]),
        ({"setings": {}}, "setings", ["unknown key 'setings'", "did you mean 'settings'?"]),
        ({"supportTable": "2025-01"}, "supportTable", ["no support table '2025-01'", '"2026-01"']),
        ({"settings": {**GOOD["settings"], "siet": "x"}}, "settings.siet", ["unknown setting", "did you mean 'site'?"]),
        ({"settings": {**GOOD["settings"], "Site": "x"}}, "settings.Site", ["did you mean 'site'?"]),
        ({"settings": {**GOOD["settings"], 5: "x"}}, "settings.5", ["the key 5 is not a text", "put it in quotes"]),
        ({"settings": {}}, "settings.site", ["missing setting ", ", which probe-linux requires", "; add it to "]),
        ({"settings": {"site": None}}, "settings.site", ["missing setting 'site'"]),
        ({"settings": {"site": ["a"]}}, "settings.site", ["must be a text"]),
        ({"settings": {"site": 5}}, "settings.site", ["must be a text"]),
        ({"settings": {"site": " "}}, "settings.site", ["must be a text that is not empty"]),
        ({"settings": {"site": "x", "tenant": "acme"}}, "settings.tenant", ["must be a GUID"]),
        ({"settings": {"site": "x", "verbose": "true"}}, "settings.verbose", ["JSON boolean"]),
        ({"settings": {"site": "x", "verbose": "{VERBOSE}"}}, "settings.verbose", ["JSON boolean"]),
        (
            {"settings": {"site": "x", "ingest": KEY}},
            "settings.ingest",
            ["is readable in this file", "Key Vault", "{NAME}"],
        ),
        (
            {"protectedSettings": {}},
            "protectedSettings.api_key",
            ["missing setting ", ", which probe-linux requires", "; add it to "],
        ),
        (
            {"protectedSettings": {"api_key": KEY}},
            "protectedSettings.api_key",
            ["is readable in this file", "Key Vault", "{NAME}"],
        ),
        ({"protectedSettings": {"api_key": 1234567}}, "protectedSettings.api_key", ["is readable in this file"]),
        (
            {"protectedSettings": {"api_key": {"value": KEY}}},
            "protectedSettings.api_key.value",
            ["is readable in this file"],
        ),
        ({"protectedSettings": {"api_key": [KEY]}}, "protectedSettings.api_key[0]", ["is readable in this file"]),
        ({"protectedSettings": {"api_key": "{lower case}"}}, "protectedSettings.api_key", ["is readable in this file"]),
        (
            {"protectedSettings": {"api_key": f"{{HOST}}?sig={KEY}"}},
            "protectedSettings.api_key",
            ["is readable in this file"],
        ),
        (
            {"protectedSettings": {"api_key": "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/k)"}},
            "protectedSettings.api_key",
            ["is a Key Vault reference, which works in app settings only", "{NAME}"],
        ),
        (
            {"settings": {**GOOD["settings"], "api_key": "{K}"}},
            "settings.api_key",
            ["belongs in protectedSettings, not in settings", "move it to protectedSettings"],
        ),
    ],
)
def test_each_error_is_named_with_file_line_and_fix(
    folder: Path, change: dict[str, Any], place: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(folder / "p.yaml", {**GOOD, **change})
    (error,) = validate(path, capsys=capsys)
    assert (error["file"], error["place"]) == (str(path), place)
    key, group = place.rpartition(".")[2].partition("[")[0], place.partition(".")[0]
    there = key in path.read_text().replace(f"{group}:", "")
    item = "- " if place.endswith("]") else ""
    assert error["line"] == line_of(path, item or (f"{key}:" if there else f"{group}:"))
    assert [each for each in says if each not in error["message"]] == []
    assert KEY not in json.dumps(error)


def test_a_key_in_clear_is_an_error_whatever_is_unknown_or_switched_off(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(folder / "p.yaml", {**GOOD, "effect": "disabled", "protectedSettings": {"apikey": KEY}})
    unknown, clear = validate(path, capsys=capsys)
    assert "did you mean 'api_key'?" in unknown["message"]
    assert "is readable in this file" in clear["message"]


def test_a_policy_that_deploys_nothing_needs_no_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for effect in ("auditIfNotExists", "Disabled"):
        path = write(folder / "p.yaml", {"name": "p", "extension": "probe-linux", "effect": effect})
        assert validate(path, capsys=capsys) == []


def test_each_workspace_has_its_own_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = {"name": "a", "when": {"field": "location", "equals": "x"}, "settings": {"site": "a"}}
    second = {"name": "b", "settings": {"siet": "b"}, "protectedSettings": {"api_key": KEY}}
    base = {"name": "p", "extension": "probe-linux", "protectedSettings": {"api_key": "{K}"}}
    path = write(folder / "p.yaml", {**base, "workspaces": [first, second]})
    found = [(error["place"], error["line"]) for error in validate(path, capsys=capsys)]
    assert found == [
        ("workspaces[1].settings.siet", line_of(path, "siet:")),
        ("workspaces[1].protectedSettings.api_key", 16),
        ("workspaces[1].settings.site", line_of(path, "siet:") - 1),
    ]


def test_two_policies_of_one_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "a.yaml", GOOD)
    write(folder / "b.yaml", GOOD)
    (error,) = validate(folder, capsys=capsys)
    assert (Path(error["file"]).name, error["place"]) == ("b.yaml", "name")
    assert "a.yaml" in error["message"]


def test_the_file_of_the_extension_is_validated_with_the_policy_that_names_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write(folder / "extensions" / "probe.yaml", {**ENTRY, "osType": "BSD"})
    path = write(folder / "p.yaml", GOOD)
    for named in (path, folder):
        errors = validate(named, capsys=capsys)
        by_file = {Path(error["file"]).name: error for error in errors}
        assert len(errors) == 2
        assert "cannot be used; correct this first: unknown operating system 'BSD' (" in by_file["p.yaml"]["message"]
        assert (by_file["probe.yaml"]["line"], by_file["probe.yaml"]["place"]) == (
            line_of(broken, "osType:"),
            "osType",
        )


@pytest.mark.parametrize("change", [{"name": "twin"}, {"type": "Another"}])
def test_an_extension_that_is_there_already_is_an_error(
    folder: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "p.yaml", GOOD)
    twin = write(folder / "extensions" / "twin.yaml", {**ENTRY, **change})
    (error,) = validate(folder, capsys=capsys)
    assert (error["file"], error["place"]) == (str(twin), "type" if "name" in change else "name")
    assert "probe-linux" in error["message"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe\x80", "UTF-8"),
        (b"name: [", "YAML"),
        (b'{"name": "p",}', "JSON"),
        (b"", "is not a policy"),
        (b"- a\n- b\n", "is not a policy"),
        (b"cases: []\n", "unknown key 'cases'"),
    ],
)
def test_any_error_of_a_file_has_a_line_and_a_reason(
    tmp_path: Path, content: bytes, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    assert main(["policy", "validate", str(path)]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert re.search(rf" \({re.escape(str(path))}:1(: cases)?\); \S", first)
    assert says in first


@pytest.mark.parametrize("action", ["validate", "test"])
def test_a_path_without_policy_files_is_an_error(
    tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    holds_other_things = tmp_path / "other"
    (holds_other_things / "deeper").mkdir(parents=True)
    (holds_other_things / "README.md").write_text("x")
    write(holds_other_things / "deeper" / "p.yaml", GOOD)
    for name in ("empty", "nowhere", "other"):
        if name == "empty":
            (tmp_path / name).mkdir()
        assert main(["policy", action, str(tmp_path / name)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert f" ({tmp_path / name}); " in captured.err
        assert "give" in captured.err
    assert main(["policy", action, ""]) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("policy: p.yaml\ncases: []\n", "key 'cases' is empty ("),
        ("cases: [{vm: {}, expect: {}}]\n", "the file names neither 'policy' nor 'definition' ("),
        ("policy: 5\ncases: [{vm: {}, expect: {}}]\n", "5 is not the name of a file ("),
        ("policy: p.yaml\ncases: [{vm: 5, expect: {}}]\n", "5 is not a VM ("),
        ("policy: p.yaml\ncases: [{vm: {}}]\n", "missing key 'expect' in a case ("),
        (
            "policy: p.yaml\ncases: [{vm: {}, expect: {}, resourcegroup: {}}]\n",
            "unknown key 'resourcegroup' in a case (",
        ),
        ("definition: d.json\nparameters: [a]\ncases: [{vm: {}, expect: {}}]\n", "a list is not a mapping ("),
    ],
)
def test_cases_that_cannot_be_tested_are_named(
    folder: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "p.yaml", GOOD)
    (folder / "p.cases.yaml").write_text(text)
    assert main(["policy", "test", str(folder)]) == 2
    assert says in capsys.readouterr().err


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=2),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    key=st.sampled_from(["settings", "protectedSettings", "workspaces", "effect", "extension", "name"]), value=VALUES
)
def test_the_validation_of_any_policy_ends_with_a_count(
    folder: Path, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "p.json"
    path.write_text(json.dumps({**GOOD, key: value}), encoding="utf-8")
    assert main(["policy", "validate", str(path)]) in (0, 1)
    *errors, count = capsys.readouterr().out.splitlines()
    assert count.startswith("1 file, ")
    assert all(re.search(rf" \({re.escape(str(path))}:\d", error) for error in errors)


def test_the_errors_of_one_file_are_limited(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = {f"unknown{number}": number for number in range(3000)}
    path = write(folder / "p.yaml", {**GOOD, "settings": {**GOOD["settings"], **many}, **many})
    errors = validate(path, capsys=capsys)
    assert len(errors) == 101
    assert "more than 100 errors" in errors[-1]["message"]


def test_a_public_setting_that_is_secret_is_masked_everywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "p.yaml", GOOD)
    monkeypatch.setenv("ONBOARDING_POLICIES", str(folder))
    monkeypatch.setenv("INGEST", "sesame-of-the-ingest")
    monkeypatch.setenv("PROBE_API_KEY", "x")
    assert main(["template", "--policy", "probe"]) == 0
    assert "sesame" not in mask("ARM answered: unknown key sesame-of-the-ingest")


def test_a_policy_that_is_not_active_here_is_a_note_and_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_RULE_ID", raising=False)
    file = tmp_path / "p.yaml"
    file.write_text("name: p\nactiveWhen: {settings: A_RULE_ID}\nextension: azure-monitor-agent-linux\n")
    assert main(["policy", "validate", str(file)]) == 0
    says = "policy p is not active with the settings of this shell: app setting A_RULE_ID is not set"
    assert f"note: {says} ({file}:2: activeWhen); nothing is wrong" in capsys.readouterr().out
    assert main(["policy", "validate", str(file), "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["errors"], document["notes"][0]["line"]) == ([], 2)
    monkeypatch.setenv("A_RULE_ID", "x")
    assert main(["policy", "validate", str(file)]) == 0
    assert "note" not in capsys.readouterr().out
