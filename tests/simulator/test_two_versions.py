"""Two versions of the product at once: the export from git, hosts that run their own code, and the front end that
shares the events among them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from simulator.host_process import FunctionsHost
from simulator.laptop import ROOT
from simulator.storm.front import Front
from simulator.storm.versions import NoSuchVersion, export

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    person = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    command = ["git", "-C", str(folder), *person, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of an app, tagged `v1` and `v2`, and before them a commit without one."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "no app")
    git(folder, "tag", "empty")
    for name in ("onboarding", "samples/policies/storm", "simulator"):
        (folder / name).mkdir(parents=True)
    for version in ("v1", "v2"):
        for name in (
            "function_app.py",
            "host.json",
            "onboarding/app.py",
            "samples/policies/storm/a.yaml",
            "simulator/a",
        ):
            (folder / name).write_text(f"{name} of {version}")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", version)
        git(folder, "tag", version)
    return folder


@needs_git
def test_the_product_is_exported_as_it_was(repository: Path, tmp_path: Path) -> None:
    version = export("v1", tmp_path, repository)
    assert version.name == git(repository, "rev-parse", "--short", "v1")
    assert (version.folder / "onboarding" / "app.py").read_text() == "onboarding/app.py of v1"
    assert (version.policies / "a.yaml").read_text() == "samples/policies/storm/a.yaml of v1"
    assert not (version.folder / "simulator").exists()


@needs_git
@pytest.mark.parametrize("ref", ["v3", "--help", "", "v1:host.json", "empty"])
def test_what_git_cannot_export_is_named(repository: Path, tmp_path: Path, ref: str) -> None:
    with pytest.raises(NoSuchVersion) as failure:
        export(ref, tmp_path, repository)
    assert str(failure.value).startswith(f"git cannot export version '{ref}' of {repository} (--beside): ")
    assert "name a commit, branch or tag" in str(failure.value)


def test_without_git_nothing_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoSuchVersion, match="install git"):
        export("HEAD", tmp_path)


@needs_git
def test_the_storm_ends_before_it_begins_if_there_is_no_such_version() -> None:
    command = [sys.executable, "-m", "simulator", "storm", "--beside", "no-such-version"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("simulator: git cannot export version 'no-such-version'")


def test_a_host_runs_the_code_of_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "onboarding").mkdir()
    (tmp_path / "onboarding" / "__init__.py").write_text("NAME = 'another version'")
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text("""
import azure.functions as func
import onboarding

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="name")
def name(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(onboarding.NAME)
""")
    with FunctionsHost(tmp_path) as host, urllib.request.urlopen(f"{host.url}/api/name") as answer:
        assert answer.read() == b"another version"


class Instance:
    """A host that answers with its name and with what it got."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = ""

    async def start(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_post("/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _answer(self, request: web.Request) -> web.Response:
        if request.headers.get("die") and request.transport:
            request.transport.abort()
        got = f"{request.raw_path} {request.headers.get('aeg-event-type')} {await request.text()}"
        return web.Response(status=202, text=f"{self.name} {got}")


@pytest_asyncio.fixture
async def front() -> AsyncIterator[Front]:
    instances = Instance("one"), Instance("two")
    runners = [await instance.start() for instance in instances]
    front = Front()
    await front.start()
    front.hosts += [instance.url for instance in instances]
    yield front
    await front.stop()
    await asyncio.gather(*(runner.cleanup() for runner in runners))


async def post(front: Front, **headers: str) -> tuple[int, str]:
    url = f"{front.url}/hook?functionName=a%20b"
    async with aiohttp.ClientSession() as session, session.post(url, data="é", headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.mark.asyncio
async def test_the_hosts_get_the_requests_in_turn_and_unchanged(front: Front) -> None:
    answers = [await post(front, **{"aeg-event-type": "Notification"}) for _ in range(4)]
    assert {status for status, _ in answers} == {202}
    assert sorted(text for _, text in answers) == sorted(
        f"{name} /hook?functionName=a%20b Notification é" for name in ("one", "two") * 2
    )


@pytest.mark.asyncio
async def test_requests_go_to_the_hosts_that_run(front: Front) -> None:
    del front.hosts[0]
    assert {(await post(front))[1].partition(" ")[0] for _ in range(3)} == {"two"}
    front.hosts.clear()
    assert await post(front) == (503, "no host runs")


@pytest.mark.asyncio
async def test_a_host_that_dies_leaves_its_request_to_the_sender(front: Front) -> None:
    assert (await post(front, die="now"))[0] == 502
