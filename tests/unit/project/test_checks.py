"""Whoever checks the project (make, the hooks before a commit, CI here or on GitHub) checks the same."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
GITHUB = ROOT / ".github"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile, in one line each."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n\t", "")
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert found, target
    return [
        line.strip().removeprefix("@").replace("$(bin)", ".venv/bin").replace("$(python)", ".venv/bin/python")
        for line in found[1].splitlines()
    ]


def test_the_hooks_before_a_commit_are_the_checks_of_make() -> None:
    config = read(ROOT / ".pre-commit-config.yaml")
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == recipe("check")
    assert {(hook["language"], hook["pass_filenames"]) for hook in hooks} == {("system", False)}


def test_ci_runs_every_test_by_the_command_of_the_readme() -> None:
    lines = [
        shlex.split(line, comments=True) for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    ]
    made = {line[1]: " ".join(line[2:]) for line in lines if line[:1] == ["make"]}
    assert {"check", "coverage", "test", "demo", "storm", "package"} <= made.keys()
    assert made["test"] == ""
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_github_runs_what_ci_runs() -> None:
    (job,) = read(GITHUB / "workflows" / "ci.yml")["jobs"].values()
    *prepared, last = job["steps"]
    assert last == {"run": ".ci/run"}
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert [re.fullmatch(r"actions/([\w-]+)@v\d+", step["uses"])[1] for step in prepared] == [  # type: ignore[index]
        "checkout",
        "setup-python",
        "setup-node",
    ]
    versions = {key: value for step in prepared for key, value in step["with"].items() if "version" in key}
    engines = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["engines"]["node"]
    assert versions["node-version"] >= int(engines.removeprefix(">="))
    assert (ROOT / versions["python-version-file"]).read_text(encoding="utf-8").strip() == "3.13"


def test_the_azure_cli_is_tried_at_night_on_the_same_ground() -> None:
    assert sorted(each.name for each in (GITHUB / "workflows").iterdir()) == ["ci.yml", "nightly.yml"]
    (usual,), (nightly,) = (read(GITHUB / "workflows" / name)["jobs"].values() for name in ("ci.yml", "nightly.yml"))
    assert nightly["steps"][-1] == {"run": "make test-az"}
    assert nightly["steps"][:-1] == usual["steps"][:-1]
    assert any("tests/az" in line for line in recipe("test-az"))


def test_each_kind_of_dependency_is_renewed_weekly_and_at_once() -> None:
    updates = read(GITHUB / "dependabot.yml")["updates"]
    assert [update["package-ecosystem"] for update in updates] == ["pip", "npm", "github-actions"]
    for update in updates:
        assert (update["directory"], update["schedule"]) == ("/", {"interval": "weekly"})
        assert [group["patterns"] for group in update["groups"].values()] == [["*"]]


@pytest.mark.parametrize(
    "file",
    [
        ".pre-commit-config.yaml",
        ".github/dependabot.yml",
        ".github/workflows/ci.yml",
        ".github/workflows/nightly.yml",
    ],
)
def test_what_drives_the_checks_names_no_host(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not re.search(r"://|\b[\w-]+\.(?:com|org|io|net|dev)\b", text)
