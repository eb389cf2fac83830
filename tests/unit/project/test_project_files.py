"""The project's own files agree with each other: nothing is left untested, unpinned or deployed by accident."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEPLOYED = {"function_app.py", "host.json", "onboarding", "policies", "requirements.txt"}


def requirement_blocks(name: str) -> list[str]:
    """The requirements of a compiled file, each with its hashes, without comments."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.lstrip().startswith("#")]
    return re.sub(r" \\\n\s+", " ", "\n".join(lines)).splitlines()


def test_make_test_reaches_every_folder_of_tests() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = {ROOT / folder for folder in pyproject["tool"]["pytest"]["ini_options"]["testpaths"]}
    for module in (ROOT / "tests").rglob("test_*.py"):
        assert listed & set(module.parents), f"{module} is in no folder that testpaths names"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_and_hashed_and_names_no_place_to_get_it_from(name: str) -> None:
    blocks = requirement_blocks(name)
    assert blocks
    for block in blocks:
        assert re.fullmatch(r"[a-z0-9.-]+==\S+( ; .+?)?( --hash=sha256:[0-9a-f]{64})+", block), block


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_every_requirement_is_compiled(name: str) -> None:
    required = re.findall(r"^[a-z][\w.-]*", (ROOT / f"{name}.in").read_text(), re.MULTILINE)
    compiled = {block.partition("==")[0] for block in requirement_blocks(f"{name}.txt")}
    assert required
    assert compiled.issuperset(required)


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, also inside of functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_the_product_imports_only_packages_that_are_deployed() -> None:
    files: set[str] = set()
    for block in requirement_blocks("requirements.txt"):
        with suppress(PackageNotFoundError):  # it is for another system
            installed = distribution(block.partition("==")[0])
            files |= {str(installed.locate_file(file)) for file in installed.files or ()}
    product = [ROOT / "function_app.py", *(ROOT / "onboarding").rglob("*.py")]
    imported = set[str]().union(*(imported_modules(path) for path in product))
    foreign = {name for name in imported if name.partition(".")[0] not in {"onboarding", *sys.stdlib_module_names}}
    specs = {name: find_spec(name) for name in sorted(foreign)}
    assert len(specs) > 10
    assert [name for name, spec in specs.items() if spec is None or str(spec.origin) not in files] == []


def test_npm_packages_are_hashed_and_name_no_place_to_get_them_from() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    installed = [package for path, package in packages.items() if path]
    assert installed
    assert all("integrity" in package and "resolved" not in package for package in installed)


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs a git checkout")
def test_only_the_function_app_is_deployed() -> None:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    patterns = (ROOT / ".funcignore").read_text().splitlines()
    tracked = {path.partition("/")[0] for path in listing.splitlines()}
    deployed = {name for name in tracked if not any(fnmatch(name, pattern) for pattern in patterns)}
    assert deployed - {".funcignore"} <= DEPLOYED


def test_the_index_of_the_docs_names_every_page_once() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[[^]]+\]\(([\w.-]+)\)", index, re.MULTILINE)
    pages = [
        path.name for kind in ("*.md", "*.json") for path in (ROOT / "docs").glob(kind) if path.name != "README.md"
    ]
    assert len(listed) == len(set(listed))
    assert set(listed).issuperset(pages)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/README.md"])
def test_the_files_that_a_page_names_or_links_to_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:docs|infra|onboarding|samples|scripts|simulator|tests)/[\w./-]*)`", text)
    linked = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text)
    assert linked
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [link for link in linked if not (ROOT / page).parent.joinpath(link).exists()] == []
