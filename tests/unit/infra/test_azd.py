"""The way of somebody new to `azd provision --preview`: what azd would ask is explained before the command, and what
the pages set is read by something.

The rules are those of azd's Bicep provider (Azure/azure-dev, `ensureParameters` in
cli/azd/pkg/infra/provisioning/bicep/bicep_provider.go; the table of its pull request 2896): it puts variables into the
file of parameters, takes an empty text there for no value, and asks for each parameter that then has neither a value
nor a default. Before that it asks for an environment, a subscription and a region, unless it knows them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.infra.deployed import INFRA, PROFILES, ROOT, compiled

ALWAYS = {"AZURE_ENV_NAME", "AZURE_SUBSCRIPTION_ID", "AZURE_LOCATION"}
# What a person sets for each profile, as docs/deploying.md says.
GIVEN = {
    "public": {"DEPLOYMENT_PROFILE": "public"},
    "restricted": {"DEPLOYMENT_PROFILE": "restricted", "ALLOWED_RANGES": "203.0.113.0/24"},
    "private": {"DEPLOYMENT_PROFILE": "private"},
}
PAGES = ("README.md", "docs/deploying.md")
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:=(?P<default>[^}]*))?\}")
_AN_OPTION = r"[A-Z][A-Z0-9_]+"


def prompts(template: Mapping[str, Any], file: Mapping[str, Any], known: Mapping[str, str]) -> set[str]:
    """What azd asks for: the variables of parameters, or the names of those that have none."""
    found = set()
    for name, parameter in template["parameters"].items():
        value = file.get(name, {}).get("value", "")
        filled = value
        if isinstance(value, str):
            filled = _VARIABLE.sub(lambda used: known.get(used["name"], used["default"] or ""), value)
        if filled == "" and "defaultValue" not in parameter and not parameter.get("nullable"):
            found |= {used["name"] for used in _VARIABLE.finditer(str(value))} or {name}
    return found


@pytest.mark.parametrize(
    ("parameter", "given", "names"),
    [
        ({}, None, {"it"}),
        ({}, "${A}", {"A"}),
        ({}, "${A=}", {"A"}),
        ({}, "${A=a}", set()),
        ({}, "a", set()),
        ({}, {}, set()),
        ({}, "${KNOWN}", set()),
        ({"nullable": True}, "${A}", set()),
        ({"defaultValue": ""}, None, set()),
        ({"defaultValue": "a"}, "${A=}", set()),
    ],
)
def test_azd_asks_for_what_has_neither_a_value_nor_a_default(
    parameter: dict[str, Any], given: object, names: set[str]
) -> None:
    file = {} if given is None else {"it": {"value": given}}
    assert prompts({"parameters": {"it": {"type": "string", **parameter}}}, file, {"KNOWN": "a"}) == names


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("page", PAGES)
def test_what_azd_asks_is_explained_before_the_command(page: str, profile: str) -> None:
    file = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    names = ALWAYS | prompts(compiled("main"), file, GIVEN[profile])
    command = (ROOT / page).read_text().partition("\nazd provision --preview")
    assert command[1], f"{page} has no azd provision --preview"
    way = {name: "azd env new" if name == "AZURE_ENV_NAME" else f"azd env set {name} " for name in names}
    assert [name for name in sorted(names) if way[name] not in command[0]] == []


def test_a_person_is_signed_in_before_the_first_command() -> None:
    for page in PAGES:
        before = (ROOT / page).read_text().partition("\nazd env new")[0]
        assert "azd auth login" in before.rpartition("```sh")[2], page


def test_every_variable_that_the_pages_set_is_read() -> None:
    parameters = {each["name"] for each in _VARIABLE.finditer((INFRA / "main.parameters.json").read_text())}
    script = (ROOT / "scripts" / "subscribe").read_text()
    read = ALWAYS | parameters | set(re.findall(rf"(?:value|option) ({_AN_OPTION})", script))
    unread = []
    for path in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text()
        named = re.findall(rf"azd env set(?:-secret)? ({_AN_OPTION})", text)
        for table in re.findall(r"^\| `azd env set` \|.*\n(?:\|.*\n)+", text, re.MULTILINE):
            for row in table.splitlines()[2:]:
                named += re.findall(rf"`({_AN_OPTION})", row.split("|")[1])
        unread += [f"{path.relative_to(ROOT)}: {name}" for name in named if name not in read]
    assert unread == []


def test_the_hooks_are_what_their_shells_take() -> None:
    """PowerShell is not here: its script is compared with the other."""
    hook = yaml.safe_load((ROOT / "azure.yaml").read_text())["hooks"]["postdeploy"]["posix"]
    subprocess.run([hook["shell"], "-n", "-c", hook["run"]], check=True)
    files = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    scripts = [path for path in files if path.read_text().startswith("#!/usr/bin/env bash")]
    assert ROOT / hook["run"].removeprefix("bash ") in scripts
    for path in scripts:
        subprocess.run(["bash", "-n", path], check=True)


def test_subscribing_needs_no_azd_where_every_value_is_given(tmp_path: Path) -> None:
    """After a deployment with the Azure CLI alone."""
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    az = tmp_path / "az"
    az.write_text(f'#!{shutil.which("bash")}\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n')
    az.chmod(0o755)
    needed = ("AZURE_SUBSCRIPTION_ID", "AZURE_LOCATION", "AZURE_RESOURCE_GROUP", "FUNCTION_APP_ID", "APP_PRINCIPAL_ID")
    given = dict.fromkeys((*needed, "EVENTS_IDENTITY_ID", "STORAGE_ACCOUNT_ID"), "given")
    subprocess.run(
        [str(shutil.which("bash")), ROOT / "scripts" / "subscribe"],
        env={**given, "PATH": str(tmp_path), "HOME": os.environ.get("HOME", "")},
        check=True,
        capture_output=True,
    )
    assert "appPrincipalId=given" in (tmp_path / "arguments").read_text().splitlines()


def test_the_script_for_windows_does_without_azd_too_and_keeps_the_quotes_of_tags() -> None:
    """`az` is a batch file there, and what PowerShell hands to one loses its double quotes unless they are escaped."""
    script = (ROOT / "scripts" / "subscribe.ps1").read_text()
    option = script.partition("function Get-Option")[2].partition("\n}")[0]
    assert "Get-Command azd" in option
    assert option.index("Get-Command azd") < option.index("azd env get-value")
    assert """-replace '"', '\\"'""" in script
