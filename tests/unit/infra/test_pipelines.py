"""The pipelines that ship as samples: they check, show what would change, wait for a person, deploy once, and look
whether the app is healthy, without a secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.infra.deployed import INFRA, ROOT

PIPELINES = ROOT / "samples" / "pipelines"
# What happens, in this order, by what the step says.
STEPS = (
    *("make check", "make checkov", "make package", "what-if|--preview"),
    *("infra/main.bicep|azd provision --no-prompt", 'vm-onboarding.zip"', "scripts/subscribe", "scripts/smoke-test"),
)


def steps(name: str) -> list[str]:
    """The steps of all jobs, each as text, in their order."""
    pipeline = yaml.safe_load((PIPELINES / name).read_text())
    found: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("steps"), list):
                found.extend(json.dumps(each, ensure_ascii=False) for each in value["steps"])
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(pipeline)
    return found


@pytest.mark.parametrize("name", ["github.yml", "azure-devops.yml"])
def test_a_pipeline_checks_shows_what_would_change_and_deploys_once(name: str) -> None:
    place = -1
    for wanted in STEPS:
        later = [index for index, step in enumerate(steps(name)) if index > place and re.search(wanted, step)]
        assert later, f"no step has {wanted} after step {place}"
        place = later[0]


@pytest.mark.parametrize("name", ["github.yml", "azure-devops.yml"])
def test_a_pipeline_has_no_secret_and_waits_for_a_person(name: str) -> None:
    text = (PIPELINES / name).read_text()
    assert "secrets." not in text
    assert not re.search(r"(?i)client-?secret|password", text)
    assert re.search(r"environment: production", text)
    pipeline = yaml.safe_load(text)
    if name == "github.yml":
        assert pipeline["jobs"]["deploy"]["needs"] == "preview"
        assert pipeline["jobs"]["preview"]["needs"] == ["check", "package"]
    else:
        assert [stage["stage"] for stage in pipeline["stages"]] == ["build", "deploy"]


def jobs(name: str) -> dict[str, tuple[bool, str]]:
    """Each job: whether it can sign in to Azure, and all that it does, as text."""
    pipeline = yaml.safe_load((PIPELINES / name).read_text())
    if name == "github.yml":
        rights = {
            each: {**pipeline["permissions"], **job.get("permissions", {})} for each, job in pipeline["jobs"].items()
        }
        return {each: ("id-token" in rights[each], json.dumps(job)) for each, job in pipeline["jobs"].items()}
    found = [job for stage in pipeline["stages"] for job in stage["jobs"]]
    texts = {job.get("job") or job["deployment"]: json.dumps(job) for job in found}
    return {each: ("$(connection)" in text, text) for each, text in texts.items()}


@pytest.mark.parametrize("name", ["github.yml", "azure-devops.yml"])
def test_code_of_others_runs_where_nobody_can_sign_in_and_checkov_not_beside_the_package(name: str) -> None:
    for job, (signs_in, text) in jobs(name).items():
        foreign = [each for each in ("pip", "make check", "make package") if re.search(rf"\b{each}\b", text)]
        assert not (signs_in and foreign), f"{job}: {foreign}"
        assert not ("make checkov" in text and "make package" in text), job
    assert sum(signs_in for signs_in, _ in jobs(name).values()) == 2  # preview, deploy


@pytest.mark.parametrize("name", ["github.yml", "azure-devops.yml"])
def test_what_a_pipeline_runs_is_there(name: str) -> None:
    text = "\n".join(steps(name))
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z]+)", text):
        assert f"\n{target}: " in makefile
    for script in re.findall(r"scripts/[\w-]+", text):
        assert os.access(ROOT / script, os.X_OK), script


def test_the_variables_of_github_are_those_that_azd_reads() -> None:
    known = set(re.findall(r"\$\{(\w+)", (INFRA / "main.parameters.json").read_text()))
    known |= set(re.findall(r"(?:value|option) (\w+)", (ROOT / "scripts" / "subscribe").read_text()))
    known |= {"AZURE_CLIENT_ID", "AZURE_TENANT_ID"}  # for the sign-in of the pipeline itself
    assert set(yaml.safe_load((PIPELINES / "github.yml").read_text())["env"]) <= known


@contextmanager
def health(*answers: int) -> Iterator[str]:
    """A page that gives these answers, the last one for ever."""
    waiting = list(answers)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(waiting.pop(0) if len(waiting) > 1 else waiting[0])
            self.end_headers()
            self.wfile.write(b'{"problems": ["missing app setting"]}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/health"
        server.shutdown()
        thread.join()


def smoke_test(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With a `sleep` that does not wait."""
    instead = tmp_path / "sleep"
    instead.write_text("#!/bin/sh\nexit 0\n")
    instead.chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "NO_PROXY": "127.0.0.1"}
    command = ["bash", str(ROOT / "scripts" / "smoke-test"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_smoke_test_waits_until_the_app_is_healthy(tmp_path: Path) -> None:
    with health(404, 503, 200) as url:
        done = smoke_test(tmp_path, url)
    assert (done.returncode, done.stdout) == (0, f"healthy: {url}\n")


def test_the_smoke_test_fails_with_what_the_app_says(tmp_path: Path) -> None:
    with health(503) as url:
        done = smoke_test(tmp_path, url, "0")
    assert done.returncode == 1
    assert "missing app setting" in done.stderr
