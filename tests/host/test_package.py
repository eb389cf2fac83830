"""The zip that Azure runs: what it holds, that it loads with its own packages only, and that each build is the same.

The packages are those of the test's own environment: building one downloads nothing here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from simulator.azurite import Azurite
from simulator.host_process import FunctionsHost

pytestmark = pytest.mark.timeout(180)  # all packages are copied, compiled and zipped, and once more for the second zip

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ".python_packages/lib/site-packages/"
for_this_machine = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="the package is for Linux x86-64"
)


@dataclass(frozen=True, slots=True)
class Built:
    manifest: dict[str, Any]
    path: Path
    names: list[str]


def build(site_packages: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "package.py"), "--json", f"--site-packages={site_packages}"]
    return subprocess.run([*command, f"--output={output}"], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages that requirements.txt pins, as they are installed here."""
    folder = tmp_path_factory.mktemp("packages")
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE):
        for file in importlib.metadata.distribution(name).files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
    return folder


@pytest.fixture(scope="module")
def built(site_packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    path = tmp_path_factory.mktemp("built") / "app.zip"
    done = build(site_packages, path)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(path) as archive:
        return Built(json.loads(done.stdout), path, archive.namelist())


def test_the_zip_holds_the_app_and_its_packages_and_nothing_else(built: Built) -> None:
    top = {name.partition("/")[0] for name in built.names}
    ours = {"function_app.py", "host.json", "requirements.txt", "onboarding", "policies"}
    assert top == {*ours, "__pycache__", ".python_packages"}
    assert "onboarding/loading/data/image_grammar.yaml" in built.names
    assert {"policies/azure-monitor.yaml", "policies/oms.yaml"} < set(built.names)
    of_the_page = {"onboarding/web/templates/base.html", "onboarding/web/static/page.css"}
    assert {*of_the_page, "onboarding/web/static/htmx.min.js"} < set(built.names)
    assert PACKAGES + "azure/functions/__init__.py" in built.names
    assert not any(name.startswith(PACKAGES + "bin/") for name in built.names)


def test_the_zip_holds_nothing_that_funcignore_leaves_out(built: Built) -> None:
    patterns = (ROOT / ".funcignore").read_text().splitlines()
    top = {name.partition("/")[0] for name in built.names} - {"__pycache__"}
    assert not [name for name in top for pattern in patterns if fnmatch(name, pattern)]


def test_every_module_has_byte_code_that_is_not_checked_against_its_source(built: Built) -> None:
    """PEP 552: the second word of the file is 1."""
    unchecked = 1
    with zipfile.ZipFile(built.path) as archive:
        words = {name: archive.read(name)[4:8] for name in built.names if name.endswith(".pyc")}
    assert {int.from_bytes(word, "little") for word in words.values()} == {unchecked}
    compiled = {re.sub(r"__pycache__/(.+)\.cpython-313\.pyc$", r"\1.py", name) for name in words}
    assert compiled == {name for name in built.names if name.endswith(".py")}


@for_this_machine
def test_the_zip_loads_with_its_own_packages_only(built: Built) -> None:
    assert set(built.manifest["functions"]) == {
        *("on_resource_event", "on_deferral", "sweep"),
        *("get_health", "get_health_details", "get_check", "get_view", "page"),
    }


def test_the_same_sources_make_the_same_zip(built: Built, site_packages: Path, tmp_path: Path) -> None:
    done = build(site_packages, tmp_path / "deeper" / built.path.name)

    assert json.loads(done.stdout)["sha256"] == built.manifest["sha256"]
    for suffix in (".zip", ".zip.sha256", ".cdx.json"):
        again = (tmp_path / "deeper" / built.path.name).with_suffix(suffix)
        assert again.read_bytes() == built.path.with_suffix(suffix).read_bytes()


def test_the_hash_beside_the_zip_is_that_of_the_zip(built: Built) -> None:
    sha256, name = built.path.with_suffix(".zip.sha256").read_text().split()
    assert (sha256, name) == (hashlib.sha256(built.path.read_bytes()).hexdigest(), built.path.name)


def test_the_bill_of_materials_names_every_package_in_the_zip(built: Built) -> None:
    bill = json.loads(built.path.with_suffix(".cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": built.manifest["sha256"]}]
    installed = re.compile(rf"{re.escape(PACKAGES)}([^/]+?)-([^/-]+)\.dist-info/METADATA")
    in_zip = {
        (re.sub(r"[-_.]+", "-", found[1]).lower(), found[2]) for name in built.names if (found := installed.match(name))
    }
    scripts = [each for each in bill["components"] if each["purl"].startswith("pkg:npm/")]
    python = [each for each in bill["components"] if each not in scripts]
    listed = {(re.sub(r"[-_.]+", "-", each["name"]).lower(), each["version"]): each["purl"] for each in python}
    assert listed.keys() == in_zip
    assert all(purl == f"pkg:pypi/{name}@{version}" for (name, version), purl in listed.items())
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert {name for name, _ in listed} == pinned
    assert all(each["externalReferences"][0]["hashes"] for each in python)
    # Scripts of others that the page has copies of: each with the version that is pinned, and the hash of its file.
    locked = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    with zipfile.ZipFile(built.path) as archive:
        ours = [name for name in built.names if name.endswith(".js") and not name.startswith(PACKAGES)]
        copied = {hashlib.sha256(archive.read(name)).hexdigest() for name in ours}
    assert {each["hashes"][0]["content"] for each in scripts} == copied
    for each in scripts:
        assert each["version"] == locked[f"node_modules/{each['name']}"]["version"]


@for_this_machine
def test_the_package_starts_under_the_real_worker_library(built: Built, azurite: Azurite, tmp_path: Path) -> None:
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(tmp_path)
    settings = {"AzureWebJobsStorage": azurite.connection_string, "EVENTS_QUEUE": "events"}
    with FunctionsHost(tmp_path, settings) as host, pytest.raises(HTTPError) as answered:
        urlopen(f"{host.url}/api/health")
    assert answered.value.code == 503  # no policy is active, since no setting of one is given
    health = json.loads(answered.value.read())
    assert health["status"] != "healthy"
    assert '"errors": {}' in host.output()  # each function was loaded, those of the events' queue too


@for_this_machine
def test_a_package_that_lacks_something_is_not_built(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    done = build(tmp_path / "packages", tmp_path / "app.zip")

    assert done.returncode == 1
    assert "No module named 'azure'" in done.stderr
    assert not (tmp_path / "app.zip").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    done = build(tmp_path / "nowhere", tmp_path / "app.zip")

    assert done.returncode == 1
    assert f"{tmp_path / 'nowhere'} is not there" in done.stderr
    assert "Traceback" not in done.stderr
