"""The templates in infra/ as a parser reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pycep import BicepParser

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
FILES = sorted(str(path.relative_to(INFRA)) for path in INFRA.rglob("*.bicep"))


@cache
def template(name: str) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = BicepParser().parse(text=(INFRA / name).read_text())
    return parsed


def body(declaration: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a resource or module says, without the loop or condition around it."""
    config: Mapping[str, Any] = declaration["config"]
    return config["config"] if "config" in config and "condition" in config else config


def modules() -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
    """Every use of a module: the file, the name there, what is handed over, the module's file."""
    for name in FILES:
        for symbol, declaration in template(name).get("modules", {}).items():
            target = os.path.normpath(Path(name).parent / declaration["detail"]["path"])
            yield name, symbol, body(declaration)["params"], target


def resource(name: str, symbol: str) -> Mapping[str, Any]:
    return body(template(name)["resources"][symbol])


def literals(value: object) -> Iterator[str]:
    """All the texts in a value, keys too."""
    if isinstance(value, str):
        yield value.strip("'")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (*literals(key), *literals(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from literals(inner)


def own_settings() -> Mapping[str, str]:
    return template("modules/app.bicep")["variables"]["ownSettings"]["value"]  # type: ignore[no-any-return]
