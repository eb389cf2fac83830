"""A file of the catalogue that cannot be used: it is left out and named, whoever's it is, and nothing else fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
OMS = "onboarding/catalog/linux/oms-agent-linux.yaml"
URN = "Canonical:UbuntuServer:16.04-LTS"
ASK = """
import asyncio, json, sys
import azure.functions as func
import function_app
functions = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}
answers = {}
for name, query in (("get_health_details", {}), ("get_check", {"image": sys.argv[1]})):
    request = func.HttpRequest(method="GET", url="/", params=query, body=b"")
    answer = asyncio.run(functions[name](request))
    answers[name] = [answer.status_code, json.loads(answer.get_body())]
print(json.dumps(answers))
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The app as it is deployed, to be broken."""
    shutil.copytree(ROOT / "onboarding", tmp_path / "app" / "onboarding")
    shutil.copytree(ROOT / "policies", tmp_path / "app" / "policies")
    shutil.copy(ROOT / "function_app.py", tmp_path / "app")
    return tmp_path / "app"


def run(app: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(app),
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "OMS_WORKSPACE_ID": "6f680a37-00c6-41c7-a93f-1437e3462574",
        "OMS_WORKSPACE_KEY": "bm90IGEgcmVhbCB3b3Jrc3BhY2Uga2V5",
        "ONBOARDING_POLICIES": "policies",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=app, env=environment, capture_output=True, text=True, check=False)


def ask(app: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """What the functions answer over HTTP: status and JSON. Whatever is wrong is in the log as well."""
    done = run(app, "-c", ASK, URN)
    assert done.returncode == 0, done.stderr
    assert all(problem in done.stderr for problem in json.loads(done.stdout)["get_health_details"][1]["problems"])
    answers: dict[str, tuple[int, dict[str, Any]]] = json.loads(done.stdout)
    return answers


def test_bad_files_beside_the_shipped_ones_are_left_out_and_named(app: Path) -> None:
    catalogue = app / "onboarding/catalog/linux"
    # A shipped file is read where a policy names it.
    (app / "policies/other.yaml").write_text("name: other\neffect: disabled\nextension: [a, b, c, d, e, twin]\n")
    (catalogue / "a.yaml").write_text("name: broken\n")
    (catalogue / "b.yml").write_text("")
    (catalogue / "c.json").write_text("{")
    (catalogue / "d.yaml").write_bytes(b"\xff\xfe\x00")
    (catalogue / "e.YAML").mkdir()
    (catalogue / "twin.yaml").write_bytes((catalogue / "oms-agent-linux.yaml").read_bytes())
    (catalogue / "notes.txt").write_text("no entry")
    answers = ask(app)
    status, body = answers["get_health_details"]
    assert (status, body["status"]) == (503, "unhealthy")
    *problems, _ = body["problems"]  # the last is of the policy
    places = [re.search(r" \(onboarding/catalog/linux/([^)]*)\); \S", problem) for problem in problems]
    assert [place and place[1] for place in places] == [
        *("a.yaml:1: publisher", "b.yml: name", "c.json:1", "d.yaml", "e.YAML", "twin.yaml:2: name")
    ]
    assert not [problem for problem in body["problems"] if problem.endswith((" ", ";"))]
    assert [policy["name"] for policy in body["policies"]] == ["azure-monitor", "linux-monitoring"]
    assert answers["get_check"][0] == 200


def test_a_shipped_file_that_is_broken_takes_its_policies_alone(app: Path) -> None:
    broken = (app / OMS).read_text().replace("os: linux", "os: bsd")
    for entry in (app / "onboarding/catalog").rglob("*.yaml"):
        entry.unlink()
    (app / OMS).write_text(broken)
    answers = ask(app)
    status, body = answers["get_health_details"]
    assert (status, body["policies"]) == (503, [])
    file, _, policy, _ = body["problems"]
    line = (app / OMS).read_text().splitlines().index("os: bsd") + 1
    assert file == f"unknown operating system 'bsd' ({OMS}:{line}: os); write linux or windows"
    assert policy.startswith("the catalogue entry of the extension 'oms-agent-linux' cannot be used (oms.yaml:")
    assert policy.endswith(f": extension); correct this first: {file}")
    assert answers["get_check"][0] == 400
    assert answers["get_check"][1]["error"].startswith("no policy uses an extension (extension); name one")


def test_a_shipped_file_that_no_policy_names_is_read_only_for_who_asks_for_it(app: Path) -> None:
    (app / "onboarding/catalog/linux/datadog-linux.yaml").write_text("name: [")
    script = ASK.replace('{"image": sys.argv[1]}', '{"image": sys.argv[1], "extension": "network-watcher-linux"}')
    done = run(app, "-c", script, URN)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["get_health_details"][1]["problems"] == []
    assert (answers["get_check"][0], answers["get_check"][1]["extension"]) == (200, "network-watcher-linux")
    done = run(app, "-c", script.replace("network-watcher-linux", "datadog-linux"), URN)
    assert json.loads(done.stdout)["get_check"][0] == 400


@pytest.mark.parametrize(
    "command",
    [
        ["check", "--image", URN],
        ["diagnose", "ERROR 500"],
        ["errors", "--extension", "oms-agent-linux", "7"],
        ["policy", "validate"],
        ["policy", "schema", "--check"],
        ["document", "--check", "README.md"],
    ],
    ids=" ".join,
)
def test_a_command_that_needs_the_broken_file_says_so(app: Path, command: list[str]) -> None:
    (app / OMS).write_text("name: [")
    (app / "README.md").write_text("a page")
    done = run(app, "-m", "onboarding", *command)
    assert "Traceback" not in done.stderr
    if command[0] == "diagnose":
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode in (1, 2)
        assert "oms-agent-linux.yaml" in done.stdout + done.stderr


def test_health_answers_whatever_fails(app: Path) -> None:
    broken = """
class Broken:
    @property
    def configuration(self):
        raise RuntimeError("password=sesame")

function_app.worker = Broken()
functions = {"""
    done = run(app, "-c", ASK.replace("functions = {", broken, 1).replace('("get_check", {"image": sys.argv[1]})', ""))
    assert done.returncode == 0, done.stderr
    status, body = json.loads(done.stdout)["get_health_details"]
    assert (status, body["status"]) == (503, "unhealthy")
    assert "RuntimeError" in body["problems"][0]
    assert "sesame" not in done.stdout + done.stderr
