"""Reads the catalogue that ships with the package and the policy folder; one bad file never takes the others down."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from onboarding.core.catalog import CatalogueEntry, parse_entry
from onboarding.core.errors import ConfigurationError
from onboarding.core.overrides import NO_OVERRIDES, Overrides, parse_overrides
from onboarding.core.policy import Policy, PolicySet, parse_policy
from onboarding.core.rule import compile_rule

_SUFFIXES = (".yaml", ".yml", ".json")
OVERRIDES = "image-overrides.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_catalogue() -> Mapping[str, CatalogueEntry]:
    """Every extension that this package knows, by name."""
    folder = files("onboarding") / "catalog"
    found = sorted(folder.iterdir(), key=lambda file: file.name)
    entries = [
        parse_entry(_parse(file.read_text(encoding="utf-8"), file.name), file.name)
        for file in found
        if file.name.endswith(_SUFFIXES)
    ]
    return {entry.name: entry for entry in entries}


def load_policies(folder: Path, catalogue: Mapping[str, CatalogueEntry]) -> tuple[PolicySet, tuple[str, ...]]:
    """The policies of a folder in the order of their files' names, and what is wrong with the files left out."""
    if not folder.is_dir():
        return PolicySet(()), (f"ONBOARDING_POLICIES: there is no folder {str(folder)!r}; name one with policy files",)
    policies: list[Policy] = []
    problems: list[str] = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.name != OVERRIDES):
        try:
            policies.append(_load_policy(path, catalogue))
        except ConfigurationError as error:
            problems.append(str(error))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path.name}: cannot be read ({type(error).__name__})")
    if not policies:
        problems.append(f"ONBOARDING_POLICIES: folder {str(folder)!r} holds no usable policy; no VM is onboarded")
    return PolicySet(tuple(policies)), tuple(problems)


def load_overrides(folder: Path) -> tuple[Overrides, tuple[str, ...]]:
    """What people taught about their own images, in the policy folder's `image-overrides.yaml` if there is one."""
    path = folder / OVERRIDES
    if not path.is_file():
        return NO_OVERRIDES, ()
    try:
        return parse_overrides(_parse(path.read_text(encoding="utf-8"), path.name), path.name), ()
    except ConfigurationError as error:
        return NO_OVERRIDES, (str(error),)
    except (OSError, UnicodeDecodeError) as error:
        return NO_OVERRIDES, (f"{path.name}: cannot be read ({type(error).__name__})",)


def _load_policy(path: Path, catalogue: Mapping[str, CatalogueEntry]) -> Policy:
    policy = parse_policy(_parse(path.read_text(encoding="utf-8"), path.name), path.name, compile_rule)
    entry = catalogue.get(policy.extension)
    if entry is None:
        known = ", ".join(catalogue)
        raise ConfigurationError(f"{path.name}: extension", f"{policy.extension!r} is not known", f"use one of {known}")
    entry.support_table(policy.support_table)
    return policy


def _parse(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigurationError(f"{place}: line {line}", str(error.problem), "write it as YAML or JSON") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(place, str(error), "write it as YAML or JSON") from None
