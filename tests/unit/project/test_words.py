"""The project speaks by its glossary: no identifier, file name, text or page uses a word that was replaced.

`words.yaml` holds the replaced words and, with a reason each, the places where one of them stays.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORDS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
FOLDERS = ("onboarding", "simulator", "bench", "scripts", "tests")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "simulator/README.md", "docs")
REPLACED = frozenset(WORDS["identifiers"])
PHRASES = [re.compile(phrase, re.IGNORECASE) for phrase in WORDS["phrases"]]
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@cache
def exceptions() -> list[tuple[str, re.Pattern[str]]]:
    return [(each["word"], re.compile(each["where"])) for each in WORDS["exceptions"]]


def stays(word: str, place: str) -> bool:
    return any(word == excepted and where.search(place) for excepted, where in exceptions())


class Module:
    """What one module of Python says: its place, the names that it gives, its comments and strings with their lines."""

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        self.name = path.relative_to(ROOT).as_posix()
        self.names = {*defined_in(ast.parse(text)), *self.name.removesuffix(".py").split("/")}
        self.prose = list(prose_in(text))


@cache
def modules() -> list[Module]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "apps" not in path.parts]
    return [Module(path) for path in sorted([*found, ROOT / "function_app.py"])]


def pages() -> list[Path]:
    return sorted(
        page
        for name in PAGES
        for page in ([ROOT / name] if name.endswith(".md") else (ROOT / name).glob("*.md"))
        if page.is_file() and page.name != "glossary.md"  # which names the words that were replaced
    )


def parts_of(name: str) -> set[str]:
    return {part.lower() for part in _PARTS.findall(name)}


def defined_in(tree: ast.AST) -> Iterator[str]:
    """Every name that a module gives: modules, classes, functions, arguments, fields, variables."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.alias(asname=str(name)):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def prose_in(text: str) -> Iterator[tuple[int, str]]:
    """Comments and strings, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, tokenize.FSTRING_MIDDLE):
            yield token.start[0], token.string


@pytest.mark.parametrize("folder", [*FOLDERS, "function_app.py"])
def test_no_name_has_a_word_that_was_replaced(folder: str) -> None:
    wrong = set()
    for module in modules():
        if module.name.partition("/")[0] != folder:
            continue
        for each in module.names:
            for word in parts_of(each) & REPLACED:
                if not stays(word, f"{module.name}: {each}"):
                    wrong.add(f"{module.name}: {each} ({word})")
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("folder", [*FOLDERS, "function_app.py"])
def test_no_text_has_a_phrase_that_was_replaced(folder: str) -> None:
    wrong = []
    for module in modules():
        if module.name.partition("/")[0] == folder:
            wrong += _phrases_in(module.name, module.prose)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_no_page_has_a_phrase_that_was_replaced(page: Path) -> None:
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    wrong = _phrases_in(page.relative_to(ROOT).as_posix(), lines)
    assert not wrong, "\n".join(wrong)


def test_every_exception_is_needed_and_has_a_reason() -> None:
    places = [place for place, _ in _places()]
    for each in WORDS["exceptions"]:
        assert each["reason"], each
        where = re.compile(each["where"])
        assert any(where.search(place) for place in places), f"nothing needs {each}"


def _phrases_in(name: str, texts: Iterable[tuple[int, str]]) -> list[str]:
    wrong = []
    for line, text in texts:
        for phrase in PHRASES:
            for found in phrase.finditer(text):
                if not stays(found[0].lower(), f"{name}: {text}"):
                    wrong.append(f"{name}:{line}: {found[0]!r} in {' '.join(text.split())[:120]}")
    return wrong


def _places() -> Iterator[tuple[str, str]]:
    for module in modules():
        for each in module.names:
            yield f"{module.name}: {each}", each
        for _, prose in module.prose:
            yield f"{module.name}: {prose}", prose
    for page in pages():
        for line in page.read_text(encoding="utf-8").splitlines():
            yield f"{page.relative_to(ROOT).as_posix()}: {line}", line
