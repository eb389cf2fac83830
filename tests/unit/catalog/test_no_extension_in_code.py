"""Extensions are data: no file of the product's code names one, or knows what an exit code of a handler means."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from onboarding.loading.policy_folder import load_catalogue

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "function_app.py", *sorted((ROOT / "onboarding").rglob("*.py"))]
# Publishers of handlers that are resource providers of Azure too: as such code may name them.
PROVIDERS = frozenset({"Microsoft.Compute", "Microsoft.GuestConfiguration"})


def names() -> set[str]:
    """What the catalogue and the list of handlers name."""
    found = set[str]()
    for entry in load_catalogue().values():
        found |= {entry.name, entry.publisher, entry.type, entry.resource_name}
    handlers = yaml.safe_load((ROOT / "onboarding/loading/data/handlers.yaml").read_text(encoding="utf-8"))
    for publisher, types in handlers.items():
        found |= {publisher, *types}
    return found - PROVIDERS


_ANY_NAME = re.compile(
    rf"(?<![\w.-])(?:{'|'.join(sorted(map(re.escape, names()), key=len, reverse=True))})(?![\w-])", re.IGNORECASE
)


def named_in(text: str) -> list[str]:
    lines = enumerate(text.splitlines(), 1)
    return [f"{number}: {found[0]}" for number, line in lines if (found := _ANY_NAME.search(line))]


def exit_codes_in(text: str) -> Iterator[str]:
    """Comparisons of an exit code with a number; 0 means success for every program."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        about = any("exit_code" in ast.unparse(side) for side in sides)
        numbers = {
            each.value
            for side in sides
            for each in ast.walk(side)
            if isinstance(each, ast.Constant) and isinstance(each.value, int) and not isinstance(each.value, bool)
        }
        if about and numbers - {0}:
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_there_is_something_to_find() -> None:
    assert len(FILES) > 200
    assert {"OmsAgentForLinux", "Datadog.Agent", "MDE.Linux", "AADSSHLoginForLinux"} <= names()


@pytest.mark.parametrize(
    "line",
    [
        'if extension.type == "OmsAgentForLinux":',
        '"""Whether the agent is microsoft.azure.monitor\'s."""',
        "# datadog-linux has no table",
        'DEFAULT = "AzurePolicyforLinux"',
    ],
)
def test_a_name_is_found_wherever_it_stands(line: str) -> None:
    assert named_in(line)


@pytest.mark.parametrize("line", ["report.exit_code == 51", "exit_code in (52, 53)", "x if run.exit_code != 1 else y"])
def test_an_exit_code_is_found(line: str) -> None:
    assert list(exit_codes_in(line))


def test_no_file_names_an_extension_or_its_handler() -> None:
    found = [f"{file.relative_to(ROOT)}:{each}" for file in FILES for each in named_in(file.read_text("utf-8"))]
    assert found == []


def test_no_file_knows_an_exit_code() -> None:
    found = [f"{file.relative_to(ROOT)}:{each}" for file in FILES for each in exit_codes_in(file.read_text("utf-8"))]
    assert found == []
