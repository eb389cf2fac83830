"""Files of policies that name one extension for each operating system: loading them, `validate`, `plan`, `explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.application.image_check import used_extensions
from onboarding.cli.main import main
from onboarding.domain.machine.machine_facts import OsType
from onboarding.loading.policy_folder import load_catalogue_of, load_policies
from tests.flow.world import BIONIC, vm_body

LINUX, WINDOWS, OMS = "azure-monitor-agent-linux", "azure-monitor-agent-windows", "oms-agent-linux"
OPEN = "policy:azure-monitor"
POLICY: dict[str, Any] = {"name": "azure-monitor", "extension": [LINUX, WINDOWS]}
SERVER = {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter"}
WEB, WIN = vm_body("web", image=BIONIC), vm_body("win", image=SERVER, os_type="Windows", os_profile={})
ODD = vm_body("odd", image={}, os_type="", os_profile={})


def write(folder: Path, *policies: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, policy in enumerate(policies):
        (folder / f"p{number}.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    return folder


def problems_of(folder: Path) -> tuple[str, ...]:
    catalogue = load_catalogue_of(folder)
    return load_policies(folder, catalogue.entries, catalogue.unusable)[1]


def test_a_policy_for_both_systems_is_one_policy(tmp_path: Path) -> None:
    catalogue = load_catalogue_of(write(tmp_path, POLICY, {"name": "oms", "extension": [OMS]}))
    policies, problems = load_policies(tmp_path, catalogue.entries)
    assert problems == ()
    ama, oms = policies.policies
    assert (ama.name, ama.extension, dict(ama.one_of)) == (
        "azure-monitor",
        OPEN,
        {LINUX: OsType.LINUX, WINDOWS: OsType.WINDOWS},
    )
    assert (oms.extension, dict(oms.one_of), oms.open_target) == (OMS, {}, ""), "a list of one is one extension"
    assert [each.entry.name for each in used_extensions(policies, catalogue.entries)] == [LINUX, WINDOWS, OMS]


WRONG = [
    ([LINUX, OMS], "p0.yaml:4: extension[1]", f"'{LINUX}' and '{OMS}' are both for Linux"),
    ([WINDOWS, LINUX, OMS], "p0.yaml:5: extension[2]", f"'{LINUX}' and '{OMS}' are both for Linux"),
    ([LINUX, "other"], "p0.yaml:4: extension[1]", "unknown extension 'other'"),
    ([LINUX, LINUX], "p0.yaml:4: extension[1]", f"'{LINUX}' is named twice"),
    ([LINUX, ""], "p0.yaml:4: extension[1]", "the name of an extension is empty"),
    ([], "p0.yaml:2: extension", "key 'extension' is empty"),
    ([LINUX, 5], "p0.yaml:4: extension[1]", "5 is not"),
    (7, "p0.yaml:2: extension", "7 is not the name of an extension or a list of names"),
]


@pytest.mark.parametrize(("extension", "place", "problem"), WRONG)
def test_a_wrong_list_is_named_with_its_place(
    tmp_path: Path, extension: Any, place: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"name": "p", "extension": extension})
    (found, nothing_usable) = problems_of(tmp_path)
    assert problem in found
    assert place in found
    assert "no usable policy" in nothing_usable
    assert main(["policy", "validate", str(tmp_path), "-o", "json"]) == 1
    error = json.loads(capsys.readouterr().out)["errors"][0]
    assert problem in error["message"]
    assert f"p0.yaml:{error['line']}: {error['place']}" == place


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a#b", "a?b", "a|b", "a\tb", "x" * 81])
def test_the_name_of_such_a_policy_can_be_part_of_a_key(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"name": name, "extension": LINUX})
    assert problems_of(tmp_path) == (), "with one extension it is not part of a key"
    write(tmp_path, {"name": name, "extension": [LINUX, WINDOWS]})
    assert "cannot be that of a policy with several extensions" in problems_of(tmp_path)[0]


def test_two_such_policies_have_two_names_in_any_case(tmp_path: Path) -> None:
    write(tmp_path, POLICY, {**POLICY, "name": "Azure-Monitor"})
    (problem,) = problems_of(tmp_path)
    assert "another policy has the name 'Azure-Monitor'" in problem


def test_validate_checks_settings_and_table_for_each_extension(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {**POLICY, "supportTable": "2026-08", "settings": {"nonsense": 1}})
    assert main(["policy", "validate", str(tmp_path), "-o", "json"]) == 1
    messages = [error["message"] for error in json.loads(capsys.readouterr().out)["errors"]]
    assert [message.partition(";")[0] for message in messages] == [
        f"unknown setting 'nonsense' of {LINUX}",
        f"{WINDOWS} has no support table '2026-08'",
        f"unknown setting 'nonsense' of {WINDOWS}",
    ]
    assert "has no support table '2026-08'" in problems_of(tmp_path)[0]


def test_a_plan_has_each_machines_own_extension_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "new", POLICY)
    (tmp_path / "fleet.json").write_text(json.dumps([WEB, WIN, ODD]))
    given = ["--vm-list", str(tmp_path / "fleet.json"), "--policies", str(tmp_path / "new")]
    assert main(["policy", "plan", *given, "-o", "json"]) == 0
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert [(each["extension"], each["after"]["decision"]) for each in changes] == [
        (LINUX, "Install"),
        (WINDOWS, "Install"),
        (OPEN, "Undetermined"),
    ]


@pytest.mark.parametrize("by", ["folder", "file"])
@pytest.mark.parametrize(("vm", "target"), [(WEB, LINUX), (WIN, WINDOWS), (ODD, OPEN)], ids=["web", "win", "odd"])
def test_a_vm_is_explained_with_its_own_extension(
    tmp_path: Path, vm: dict[str, Any], target: str, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "new", POLICY)
    (tmp_path / "vm.json").write_text(json.dumps(vm))
    file = ["--policy", str(tmp_path / "new" / "p0.yaml")] if by == "file" else ["--policies", str(tmp_path / "new")]
    given = ["policy", "explain", "--vm", str(tmp_path / "vm.json"), *file]
    assert main([*given, "-o", "json"]) == 0
    (explained,) = json.loads(capsys.readouterr().out)
    assert [each["extension"] for each in explained["policies"]] == [target]
    assert [each["extension"] for each in explained["decisions"]] == [target]
    assert main(given) == 0
    assert "✓ policy azure-monitor (decides)" in capsys.readouterr().out
