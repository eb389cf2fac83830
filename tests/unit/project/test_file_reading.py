"""One folder reads files, `onboarding/loading/`: what the others need is passed in to them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ROOT / "onboarding"
READERS = PRODUCT / "loading"
ELSEWHERE = {
    "onboarding/cli/io.py": "one way in for all commands: a file and standard input are the same to them, byte by byte",
}
CALLS = frozenset(("open", "read_bytes", "read_text"))
MODULES = frozenset(("fileinput", "importlib.resources", "linecache", "mmap", "pkgutil"))


def readings(source: str) -> Iterator[str]:
    """Each place of a module that reads a file: `open(…)`, what a path reads by, modules that read by themselves."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="open")):
                yield f"line {node.lineno}: open"
            case ast.Call(func=ast.Attribute(attr=name)) if name in CALLS:
                yield f"line {node.lineno}: .{name}"
            case ast.Import(names=names):
                yield from (f"line {node.lineno}: {each.name}" for each in names if _reads(each.name))
            case ast.ImportFrom(module=str(module), names=names):
                whole = [module, *(f"{module}.{each.name}" for each in names)]
                yield from (f"line {node.lineno}: {name}" for name in whole if _reads(name))


def _reads(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in MODULES)


def found() -> dict[str, list[str]]:
    """What each module of the product reads by, outside the folder that may."""
    modules = (path for path in sorted(PRODUCT.rglob("*.py")) if not path.is_relative_to(READERS))
    by_module = {str(path.relative_to(ROOT)): list(readings(path.read_text())) for path in modules}
    return {name: places for name, places in by_module.items() if places}


@pytest.mark.parametrize(
    "source",
    [
        "with open(name) as file: pass",
        "text = Path(name).read_text()",
        "content = (folder / name).read_bytes()",
        "with path.open('rb') as file: pass",
        "import importlib.resources",
        "from importlib import resources",
        "from importlib.resources import files",
        "from importlib.resources.abc import Traversable",
        "def late():\n    from importlib.resources import files",
    ],
)
def test_a_reading_of_a_file_is_seen(source: str) -> None:
    assert list(readings(source))


@pytest.mark.parametrize(
    "source", ["read_text(name)", "from importlib.metadata import version", "import importlib", "connections.opened()"]
)
def test_what_reads_no_file_itself_is_not(source: str) -> None:
    assert not list(readings(source))


def test_the_folder_that_may_read_does() -> None:
    assert {path.stem for path in READERS.glob("*.py") if list(readings(path.read_text()))} >= {
        "package_data",
        "policy_folder",
        "safe_reader",
    }


def test_no_other_part_of_the_product_reads_files() -> None:
    assert {name: places for name, places in found().items() if name not in ELSEWHERE} == {}


def test_every_exception_is_still_needed() -> None:
    assert set(ELSEWHERE) <= set(found())
