"""Commands without `--extension` are about the extensions that the policies use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onboarding.application.image_check import UsedExtension
from onboarding.cli.main import main
from onboarding.domain.errors import ConfigurationError
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import check_query

LINUX, WINDOWS, OMS = "azure-monitor-agent-linux", "azure-monitor-agent-windows", "oms-agent-linux"
UBUNTU = "Canonical:ubuntu-24_04-lts:server"
SERVER = "MicrosoftWindowsServer:WindowsServer:2022-datacenter"
CENTOS = "OpenLogic:CentOS:7_9"
UNNAMED = "fortinet:fortigate:fg-vm"


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONBOARDING_POLICIES", str(tmp_path))
    return tmp_path


def write(folder: Path, *extensions: str, **keys: str) -> None:
    for number, name in enumerate(extensions):
        lines = [f"name: p{number}", f"extension: {name}", *(f"{key}: {value}" for key, value in keys.items())]
        (folder / f"p{number}.yaml").write_text("\n".join(lines))


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def checked(capsys: pytest.CaptureFixture[str], *urns: str) -> list[tuple[str, str, str]]:
    main(["check", *(part for urn in urns for part in ("--image", urn)), "-o", "jsonl"])
    return [(line["extension"], line["supportTable"], line["verdict"]) for line in lines_of(capsys)]


def test_an_image_is_checked_for_the_extensions_of_its_system(
    policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(policies, LINUX, WINDOWS)
    assert checked(capsys, UBUNTU, SERVER) == [
        (LINUX, "2026-08", "supported"),
        (WINDOWS, "2025-03", "supported"),
    ]
    assert checked(capsys, UNNAMED) == [(LINUX, "2026-08", "unknown"), (WINDOWS, "2025-03", "unknown")]
    assert main(["check", "--image", UBUNTU, "--image", SERVER]) == 0
    out = capsys.readouterr().out
    assert f"1 checked against table 2026-08 (2026-08-06) of {LINUX}: 1 supported" in out
    assert f"1 checked against table 2025-03 (2025-03-07) of {WINDOWS}: 1 supported" in out


def test_two_extensions_of_one_system_both_answer(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(policies, OMS, LINUX)
    assert checked(capsys, CENTOS) == [(OMS, "2017-04", "supported"), (LINUX, "2026-08", "unsupported")]
    assert main(["check", "--image", CENTOS]) == 1
    assert main(["check", "--image", "RedHat:RHEL:7-LVM"]) == 0


def test_the_table_is_the_one_that_the_policy_names(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(policies, LINUX, supportTable='"2026-05"')
    assert checked(capsys, CENTOS) == [(LINUX, "2026-05", "supported")]


def test_a_table_by_name_is_that_of_the_extensions_that_have_it(
    policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(policies, LINUX, WINDOWS)
    assert main(["check", "--image", CENTOS, "--support-table", "2026-05"]) == 0
    assert main(["check", "--image", CENTOS, "--support-table", "1999-01"]) == 2
    assert "has no support table '1999-01'" in capsys.readouterr().err


def test_a_disabled_policy_uses_nothing(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(policies, LINUX, effect="disabled")
    assert main(["check", "--image", UBUNTU]) == 2
    assert f"uses an extension; give --extension NAME (known extensions: {LINUX}" in capsys.readouterr().err
    assert main(["check", "--image", UBUNTU, "--extension", LINUX]) == 0


def test_without_a_policy_the_error_says_why(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (policies / "bad.yaml").write_text("name: bad\nextension: nobody\n")
    for command in (["check", "--image", UBUNTU], ["errors"]):
        assert main(command) == 2
        assert "unknown extension 'nobody' (bad.yaml:2" in capsys.readouterr().err


def test_errors_shows_each_extensions_codes(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(policies, OMS, LINUX)
    assert main(["errors", "53", "-o", "jsonl"]) == 0
    assert [(line["extension"], line["code"]) for line in lines_of(capsys)] == [(OMS, 53), (LINUX, 53)]
    assert main(["errors", "104", "-o", "jsonl"]) == 0
    assert [line["extension"] for line in lines_of(capsys)] == [LINUX]
    assert main(["errors", "7000"]) == 2
    assert f"no edition of the code table of {OMS}, {LINUX} has 7000" in capsys.readouterr().err
    assert main(["errors"]) == 0
    out = capsys.readouterr().out
    assert out.index(OMS) < out.index("Missing tar program") < out.index(LINUX) < out.index("zypper found no package")


def test_a_failure_without_a_handler_is_read_by_the_first_table_that_knows_it(
    policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(policies, WINDOWS, LINUX, OMS)
    main(["diagnose", "Install failed with exit code 104", "-o", "jsonl"])
    main(["diagnose", "Install failed with exit code 62", "-o", "jsonl"])
    main(["diagnose", "nobody knows why", "-o", "jsonl"])
    found = [(line["cause"], line["table"]) for line in lines_of(capsys)]
    assert found == [("missing-dependency", LINUX), ("missing-dependency", OMS), ("unknown", WINDOWS)]


def test_without_a_policy_a_failure_is_read_by_the_shared_rules(
    policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", "No space left on device", "-o", "jsonl"]) == 0
    [failure] = lines_of(capsys)
    assert (failure["cause"], failure["table"]) == ("low-disk-space", None)


def test_logs_needs_an_extension_whose_logs_are_known(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vm = "/subscriptions/0/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web01"
    assert main(["logs", vm]) == 2
    error = capsys.readouterr().err
    assert "no policy uses an extension with known logs" in error
    assert LINUX in error


def test_the_http_endpoint_answers_for_the_first_extension_of_the_system() -> None:
    catalogue = load_catalogue()
    used = [UsedExtension(catalogue[name]) for name in (WINDOWS, LINUX, OMS)]
    assert check_query({"image": UBUNTU}, catalogue, *used)["extension"] == LINUX
    assert check_query({"image": SERVER}, catalogue, *used)["extension"] == WINDOWS
    assert check_query({"image": CENTOS, "supportTable": "2017-04"}, catalogue, *used)["extension"] == OMS
    assert check_query({"image": CENTOS, "extension": OMS}, catalogue, *used)["extension"] == OMS
    with pytest.raises(ConfigurationError, match="no policy uses an extension"):
        check_query({"image": UBUNTU}, catalogue)
