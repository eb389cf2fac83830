"""Reads the catalogue that ships with the package and the policy folder, which may hold catalogue entries of its own;
one bad file never takes the others down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from onboarding.core.catalog import CatalogueEntry, parse_entry
from onboarding.core.errors import ConfigurationError
from onboarding.core.overrides import NO_OVERRIDES, Overrides, parse_overrides
from onboarding.core.policy import Policy, PolicySet, parse_policy
from onboarding.core.rule import compile_rule
from onboarding.reading import Unreadable, parse_json, parse_yaml, read_file

_SUFFIXES = (".yaml", ".yml", ".json")
OVERRIDES = "image-overrides.yaml"
EXTENSIONS = "extensions"  # the folder below the policies that holds the user's own catalogue entries


def load_catalogue() -> Mapping[str, CatalogueEntry]:
    """Every extension that ships with this package, by name."""
    folder = files("onboarding") / "catalog"
    found = sorted(folder.iterdir(), key=lambda file: file.name)
    entries = [
        parse_entry(_parse(file.read_text(encoding="utf-8"), file.name), file.name)
        for file in found
        if file.name.endswith(_SUFFIXES)
    ]
    return {entry.name: entry for entry in entries}


def load_catalogue_of(folder: Path) -> tuple[Mapping[str, CatalogueEntry], tuple[str, ...]]:
    """The shipped extensions and those of a policy folder's `extensions/`, by name; and what is wrong with the files
    that were left out."""
    catalogue = dict(load_catalogue())
    problems: list[str] = []
    for path in extension_files(folder):
        place = f"{EXTENSIONS}/{path.name}"
        try:
            entry = parse_entry(_read(path, place), place)
            _refuse_duplicate(entry, catalogue, place)
            catalogue[entry.name] = entry
        except ConfigurationError as error:
            problems.append(str(error))
        except (OSError, RecursionError) as error:
            problems.append(f"{place}: cannot be read ({type(error).__name__})")
    return catalogue, tuple(problems)


def extension_files(folder: Path) -> list[Path]:
    """The files of a policy folder that are to be catalogue entries, in the order of their names."""
    try:
        return sorted(path for path in (folder / EXTENSIONS).iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError:
        return []  # most folders have none


def load_policies(folder: Path, catalogue: Mapping[str, CatalogueEntry]) -> tuple[PolicySet, tuple[str, ...]]:
    """The policies of a folder in the order of their files' names, and what is wrong with the files left out."""
    if not os.path.isdir(folder):  # False, too, for what cannot be a name
        return PolicySet(()), (f"ONBOARDING_POLICIES: there is no folder {str(folder)!r}; name one with policy files",)
    policies: list[Policy] = []
    problems: list[str] = []
    for path in policy_files(folder):
        try:
            policy = _load_policy(path, catalogue)
            if any(policy.name == other.name for other in policies):
                raise ConfigurationError(f"{path.name}: name", f"{policy.name!r} is taken", "give each policy its own")
            policies.append(policy)
        except ConfigurationError as error:
            problems.append(str(error))
        except (OSError, RecursionError) as error:
            problems.append(f"{path.name}: cannot be read ({type(error).__name__})")
    if not policies:
        problems.append(f"ONBOARDING_POLICIES: folder {str(folder)!r} holds no usable policy; no VM is onboarded")
    return PolicySet(tuple(policies)), tuple(problems)


def policy_files(folder: Path) -> list[Path]:
    """The files of a folder that are to be policies: not what people taught of images, nor the policies' own tests."""
    named = (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    return sorted(path for path in named if path.name != OVERRIDES and not path.stem.endswith(".cases"))


def load_overrides(folder: Path) -> tuple[Overrides, tuple[str, ...]]:
    """What people taught about their own images, in the policy folder's `image-overrides.yaml` if there is one."""
    path = folder / OVERRIDES
    if not os.path.isfile(path):
        return NO_OVERRIDES, ()
    try:
        return parse_overrides(_read(path), path.name), ()
    except ConfigurationError as error:
        return NO_OVERRIDES, (str(error),)
    except (OSError, RecursionError) as error:
        return NO_OVERRIDES, (f"{path.name}: cannot be read ({type(error).__name__})",)


def _refuse_duplicate(entry: CatalogueEntry, catalogue: Mapping[str, CatalogueEntry], place: str) -> None:
    """One name is one extension, and a VM takes one handler once: two entries for it would undo each other's work."""
    if entry.name in catalogue:
        raise ConfigurationError(f"{place}: name", f"{entry.name!r} is taken", "give each extension its own")
    for other in catalogue.values():
        if (entry.publisher.lower(), entry.type.lower()) == (other.publisher.lower(), other.type.lower()):
            problem = f"{entry.publisher}.{entry.type} is the handler of {other.name!r} already"
            raise ConfigurationError(f"{place}: type", problem, f"name {other.name!r} in the policy instead")


def _load_policy(path: Path, catalogue: Mapping[str, CatalogueEntry]) -> Policy:
    policy = parse_policy(_read(path), path.name, compile_rule)
    entry = catalogue.get(policy.extension)
    if entry is None:
        known = ", ".join(catalogue)
        raise ConfigurationError(f"{path.name}: extension", f"{policy.extension!r} is not known", f"use one of {known}")
    if policy.support_table and policy.support_table not in entry.support_tables:
        known = ", ".join(entry.support_tables)
        place, problem = f"{path.name}: supportTable", f"{entry.name} has no table {policy.support_table!r}"
        raise ConfigurationError(place, problem, f"use one of {known}, in quotes")
    return policy


def _read(path: Path, place: str = "") -> Any:
    """What the file holds; errors name it by `place`, or by its name."""
    place = place or path.name
    try:
        return _parse(read_file(path), place)
    except Unreadable as error:
        raise ConfigurationError(place, error.problem, error.mend) from None


def _parse(text: str, place: str) -> Any:
    try:
        # Not all JSON is YAML: it may be indented with tabs.
        return parse_json(text) if place.lower().endswith(".json") else parse_yaml(text)
    except Unreadable as error:
        where = f"{place}: line {error.line}" if error.line else place
        raise ConfigurationError(where, error.problem, error.mend) from None
