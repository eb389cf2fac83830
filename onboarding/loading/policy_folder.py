"""Reads the catalogue that ships with the package and the policy folder, which may have catalogue entries of its own.
One bad file does not affect the others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry, parse_entry
from onboarding.domain.errors import ConfigurationError, use_one_of
from onboarding.domain.image.overrides import NO_OVERRIDES, Overrides, parse_overrides
from onboarding.domain.policy.policy import Policy, PolicySet, parse_policy
from onboarding.domain.policy.rule import compile_rule
from onboarding.loading.package_data import reference_data
from onboarding.loading.safe_reader import Unreadable, line_of, parse_json, parse_yaml, read_file

_SUFFIXES = (".yaml", ".yml", ".json")
OVERRIDES = "image-overrides.yaml"
_NAME = re.compile(r"""^[{ ]{0,9}["']?name["']?[ ]{0,9}:[ ]{0,9}["']?([a-z0-9][a-z0-9.-]{0,79})""", re.MULTILINE)
EXTENSIONS = "extensions"  # the folder below the policies that holds the user's own catalogue entries


class LeftOut(Struct, frozen=True):
    """A catalogue file that cannot be used."""

    path: str
    name: str  # of its extension: as the file says, else the file's name
    error: ConfigurationError  # why it cannot be used
    shipped: bool  # it came with this package


class Catalogue(Struct, frozen=True):
    """The extensions that can be used, by name, and the files that cannot."""

    entries: Mapping[str, CatalogueEntry]
    left_out: tuple[LeftOut, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(str(each.error) for each in self.left_out)

    @property
    def unusable(self) -> Mapping[str, str]:
        """Why an extension cannot be used, by its name."""
        return {each.name: str(each.error) for each in reversed(self.left_out) if each.name not in self.entries}


def load_catalogue() -> Mapping[str, CatalogueEntry]:
    """Every extension that ships with this package, by name. Raises ConfigurationError for a file that cannot be
    used: pages and schemas that are made from the catalogue are made from all of it."""
    catalogue = _read_catalogue(_shipped())
    if catalogue.left_out:
        raise catalogue.left_out[0].error
    return catalogue.entries


def load_catalogue_of(folder: Path) -> Catalogue:
    """The shipped extensions and those in a policy folder's `extensions/`. A file that cannot be used is left out and
    does not affect the others."""
    own = ((path, f"{EXTENSIONS}/{path.name}") for path in extension_files(folder))
    return _read_catalogue(_shipped(), own)


def _shipped() -> Iterator[tuple[Traversable, str]]:
    folder = files("onboarding") / "catalog"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.lower().endswith(_SUFFIXES):
            yield file, f"onboarding/catalog/{file.name}"


def _read_catalogue(
    shipped: Iterable[tuple[Traversable, str]], own: Iterable[tuple[Traversable, str]] = ()
) -> Catalogue:
    entries: dict[str, CatalogueEntry] = {}
    left_out: list[LeftOut] = []
    for is_shipped, sources in ((True, shipped), (False, own)):
        for file, place in sources:
            try:
                entry = parse_entry(_read(file, place), place, reference_data(), shipped=is_shipped)
                _refuse_duplicate(entry, entries, place)
                entries[entry.name] = entry
            except ConfigurationError as error:
                left_out.append(LeftOut(str(file), _name_in(file), error, is_shipped))
    return Catalogue(entries, tuple(left_out))


def _name_in(file: Traversable) -> str:
    """The name in a file, even in one that is not valid YAML or JSON; else the file's own name."""
    try:
        name = _NAME.search(read_file(file))
    except (OSError, Unreadable):
        name = None
    return name[1] if name else file.name.rpartition(".")[0]


def extension_files(folder: Path) -> list[Path]:
    """The catalogue entries' files of a policy folder, in the order of their names."""
    try:
        return sorted(path for path in (folder / EXTENSIONS).iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError:
        return []  # most folders have none


def load_policies(
    folder: Path, catalogue: Mapping[str, CatalogueEntry], unusable: Mapping[str, str] | None = None
) -> tuple[PolicySet, tuple[str, ...]]:
    """The policies of a folder in the order of their files' names, and the problems of the files that are left out.
    `unusable` says why an extension is not in the catalogue."""
    if not os.path.isdir(folder):  # also False for a text that cannot be a path
        return PolicySet(()), (f"ONBOARDING_POLICIES: there is no folder {str(folder)!r}; name one with policy files",)
    policies: list[Policy] = []
    problems: list[str] = []
    try:
        paths = policy_files(folder)
    except OSError as error:
        return PolicySet(()), (f"ONBOARDING_POLICIES: folder {str(folder)!r} cannot be read ({error.strerror})",)
    for path in paths:
        try:
            policy = _load_policy(path, catalogue, unusable or {})
            if any(policy.name == other.name for other in policies):
                raise ConfigurationError(f"{path.name}: name", f"{policy.name!r} is taken", "give each policy its own")
            policies.append(policy)
        except ConfigurationError as error:
            problems.append(str(error))
    if not policies:
        problems.append(f"ONBOARDING_POLICIES: folder {str(folder)!r} holds no usable policy; no VM is onboarded")
    return PolicySet(tuple(policies)), tuple(problems)


def policy_files(folder: Path) -> list[Path]:
    """The policy files of a folder, without the override file and the policies' own tests."""
    named = (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    return sorted(path for path in named if path.name != OVERRIDES and not path.stem.endswith(".cases"))


def load_overrides(folder: Path) -> tuple[Overrides, tuple[str, ...]]:
    """The override file `image-overrides.yaml` of the policy folder, if there is one, and its problems."""
    path = folder / OVERRIDES
    if not os.path.isfile(path):
        return NO_OVERRIDES, ()
    try:
        return parse_overrides(_read(path), path.name), ()
    except ConfigurationError as error:
        return NO_OVERRIDES, (str(error),)


def _refuse_duplicate(entry: CatalogueEntry, catalogue: Mapping[str, CatalogueEntry], place: str) -> None:
    """Raises ConfigurationError for a name or a handler that another entry has. A VM has each handler only once, so two
    entries for one handler would undo each other's work."""
    if entry.name in catalogue:
        raise ConfigurationError(f"{place}: name", f"{entry.name!r} is taken", "give each extension its own")
    for other in catalogue.values():
        if (entry.publisher.lower(), entry.type.lower()) == (other.publisher.lower(), other.type.lower()):
            problem = f"{entry.publisher}.{entry.type} is the handler of {other.name!r} already"
            raise ConfigurationError(f"{place}: type", problem, f"name {other.name!r} in the policy instead")


def _load_policy(path: Path, catalogue: Mapping[str, CatalogueEntry], unusable: Mapping[str, str]) -> Policy:
    text = _read_text(path, path.name)
    raw = _parse_text(text, path.name)
    try:
        policy = parse_policy(raw, path.name, compile_rule, reference_data().managed())
    except ConfigurationError as error:
        _, _, place = error.place.partition(": ")
        where = f" ({path.name}:{line_of(text, place)})" if place else ""
        raise ConfigurationError(error.place, f"{error.problem}{where}", error.fix) from None
    except RecursionError:
        raise ConfigurationError(path.name, "is nested too deeply", "write it flatter") from None
    entry = known_extension(policy.extension, f"{path.name}: extension", catalogue, unusable)
    check_support_table(policy.support_table, f"{path.name}: supportTable", entry)
    return policy


def known_extension(
    name: str, place: str, catalogue: Mapping[str, CatalogueEntry], unusable: Mapping[str, str]
) -> CatalogueEntry:
    """The entry that a policy names. Raises ConfigurationError if the catalogue does not have it."""
    if (entry := catalogue.get(name)) is not None:
        return entry
    if (why := unusable.get(name)) is not None:
        problem = f"{name!r} is not in the catalogue, since its file is left out ({why})"
        raise ConfigurationError(place, problem, "mend that file")
    raise ConfigurationError(place, f"{name!r} is not in the catalogue", use_one_of(catalogue, name))


def check_support_table(name: str, place: str, entry: CatalogueEntry) -> None:
    """Raises ConfigurationError if a policy names a support table that the entry does not have."""
    if name and name not in entry.support_tables:
        tables = [f'"{known}"' for known in entry.support_tables]
        fix = use_one_of(tables, name) if tables else "leave it out"
        raise ConfigurationError(place, f"{entry.name} has no table {name!r}", fix)


def _read(file: Traversable, place: str = "") -> Any:
    """The data in the file. Raises ConfigurationError, which names the file by `place`, or by its name."""
    place = place or file.name
    return _parse_text(_read_text(file, place), place)


def _read_text(file: Traversable, place: str) -> str:
    try:
        return read_file(file)
    except Unreadable as error:
        raise ConfigurationError(place, error.problem, error.fix) from None
    except OSError as error:
        raise ConfigurationError(place, f"cannot be read ({error.strerror})", "put a file there") from None


def _parse_text(text: str, place: str) -> Any:
    try:
        # Not all JSON is valid YAML: it may be indented with tabs.
        return parse_json(text) if place.lower().endswith(".json") else parse_yaml(text)
    except Unreadable as error:
        where = f"{place}: line {error.line}" if error.line else place
        raise ConfigurationError(where, error.problem, error.fix) from None
