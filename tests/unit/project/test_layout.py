"""A newcomer finds the room of a line: no folder is crowded, and no file hides behind another of its name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]
MOST_FILES = 16
# The top folder holds what tools look for there: package managers, the functions host, git, editors.
FOLDERS = ("onboarding", "simulator", "bench", "tests", "docs", "infra", "scripts", "policies", "samples")


def folders() -> list[Path]:
    found = [ROOT / name for name in FOLDERS]
    for top in list(found):
        found += [path for path in top.rglob("*") if path.is_dir() and "__pycache__" not in path.parts]
    return found


def test_no_folder_holds_more_than_sixteen_files() -> None:
    crowded = {
        str(folder.relative_to(ROOT)): files
        for folder in folders()
        if (files := sum(path.is_file() for path in folder.iterdir())) > MOST_FILES
    }
    assert crowded == {}


def test_the_folders_of_files_with_the_same_name_tell_them_apart() -> None:
    places = defaultdict(list)
    for path in (ROOT / "onboarding").rglob("*.py"):
        if path.name not in ("__init__.py", "__main__.py"):
            places[path.name].append(path.parent.name)
    alike = {name: found for name, found in places.items() if max(Counter(found).values()) > 1}
    assert alike == {}


def test_every_folder_of_the_product_says_what_it_is_for() -> None:
    wordless = [
        str(init.relative_to(ROOT))
        for init in (ROOT / "onboarding").rglob("__init__.py")
        if init.parent.name not in ("onboarding", "functions")
        and not init.read_text(encoding="utf-8").startswith('"""')
    ]
    assert wordless == []


def test_every_place_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {
        name
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.(?:py|yaml|json))?|[a-z_]+\.(?:py|yaml|json))`", text)
        if not name.startswith(("infra/modules",))
    }
    assert len(named) > 30
    bases = (ROOT, ROOT / "onboarding", ROOT / "onboarding" / "domain", ROOT / "onboarding" / "application")
    files = {path.name for path in (ROOT / "onboarding").rglob("*.py")} | {"pyproject.toml", "function_app.py"}
    missing = [
        name for name in sorted(named) if name not in files and not any((base / name).exists() for base in bases)
    ]
    assert missing == []
