"""Reads the catalogue that ships with the package and the policy folder, which may have catalogue entries of its own.
One bad file does not affect the others."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry, parse_entry
from onboarding.domain.catalog.entry_file import EntryFile, read_entry_file
from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.image.overrides import NO_OVERRIDES, Overrides, parse_overrides
from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.policy.policy_file import parse_policy
from onboarding.domain.policy.rule import compile_rule
from onboarding.loading.package_data import reference_data
from onboarding.loading.policy_extensions import known_extension, with_extensions
from onboarding.loading.safe_reader import Unreadable, line_in, nodes_of, parse_json, parse_yaml, read_file

_SUFFIXES = (".yaml", ".yml", ".json")
OVERRIDES = "image-overrides.yaml"
_NAME = re.compile(r"""^[{ ]{0,9}["']?name["']?[ ]{0,9}:[ ]{0,9}["']?([a-z0-9][a-z0-9.-]{0,79})""", re.MULTILINE)
_TYPE = re.compile(r"^type: (\S+)", re.MULTILINE)
EXTENSIONS = "extensions"  # the folder below the policies that holds the user's own catalogue entries


class LeftOut(Struct, frozen=True):
    """A catalogue file that cannot be used."""

    path: str
    name: str  # of its extension: as the file says, else the file's name
    error: ConfigurationError  # why it cannot be used
    shipped: bool  # it came with this package


class Replaced(Struct, frozen=True):
    """A shipped extension that an entry of the user's own replaces: it has the same name or the same handler."""

    name: str  # of the shipped extension
    by: str  # the name of the user's own
    place: str  # the file of the user's own

    def __str__(self) -> str:
        if self.name == self.by:
            return f"{self.place} replaces the shipped extension {as_written(self.name)}"
        return f"{self.place} ({as_written(self.by)}) replaces the shipped extension {as_written(self.name)}"


class Catalogue(Struct, frozen=True):
    """The extensions that can be used, by name, and the files that cannot."""

    entries: Mapping[str, CatalogueEntry]
    left_out: tuple[LeftOut, ...]
    files: Mapping[str, str] = {}  # the file of each extension of the user's own, by its name
    replaced: tuple[Replaced, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(str(each.error) for each in self.left_out)

    @property
    def notices(self) -> tuple[str, ...]:
        """What is no problem and may surprise: the shipped extensions that are replaced."""
        return tuple(map(str, self.replaced))

    @property
    def unusable(self) -> Mapping[str, str]:
        """Why an extension cannot be used, by its name."""
        why = {each.name: str(each.error) for each in reversed(self.left_out)}
        for each in self.replaced:
            fix = f"name {as_written(each.by)} in policies, or give that entry the name {as_written(each.name)}"
            problem = f"{as_written(each.by)} has its handler, and replaces it"
            why.setdefault(each.name, str(ConfigurationError(each.place, problem, fix)))
        return {name: reason for name, reason in why.items() if name not in self.entries}


def load_catalogue() -> Mapping[str, CatalogueEntry]:
    """Every extension that ships with this package, by name. Raises ConfigurationError for a file that cannot be
    used: pages and schemas that are made from the catalogue are made from all of it."""
    catalogue = _read_catalogue(_shipped())
    if catalogue.left_out:
        raise catalogue.left_out[0].error
    return catalogue.entries


def load_used_catalogue(folder: Path) -> Catalogue:
    """The same as `load_catalogue_of`, for a process that waits for it. A shipped extension that no file of the folder
    names is read when somebody asks for it; until then nothing is known of mistakes in its file."""
    own = [(path, f"{EXTENSIONS}/{path.name}") for path in extension_files(folder)]
    texts = "\n".join(_readable_text(path) for path in (*_files_in(folder), *(path for path, _ in own)))
    used: list[tuple[Traversable, str]] = []
    unread: dict[str, tuple[Traversable, str]] = {}
    for file, place in _shipped():
        if _is_named(file, texts, handlers=bool(own)):
            used.append((file, place))
        else:
            unread[file.name.rpartition(".")[0]] = file, place
    return _read_catalogue(used, own, unread)


def _is_named(file: Traversable, texts: str, *, handlers: bool) -> bool:
    """Whether a shipped entry is named, by its file's name; with `handlers` also by its handler's, since an entry of
    the user's own for the same handler replaces it."""
    if file.name.rpartition(".")[0] in texts:
        return True
    handler = _TYPE.search(_readable_text(file)) if handlers else None
    return handler is not None and handler[1].lower() in texts.lower()


def _files_in(folder: Path) -> list[Path]:
    try:
        return policy_files(folder)
    except OSError:
        return []  # `load_policies` says so


def _readable_text(file: Traversable) -> str:
    try:
        return read_file(file)
    except (OSError, Unreadable):
        return ""


def load_catalogue_of(folder: Path) -> Catalogue:
    """The shipped extensions and those in a policy folder's `extensions/`. A file that cannot be used is left out and
    does not affect the others.

    An entry of the user's own replaces the shipped one of its name, and the one for its handler, of which a VM has only
    one: so an extension that ships later never takes the user's own down. A file of the user's own with a shipped name
    that cannot be used keeps the shipped entry from use too, since it was meant to change it."""
    own = ((path, f"{EXTENSIONS}/{path.name}") for path in extension_files(folder))
    return _read_catalogue(_shipped(), own)


def find_entry_file(name: str, folder: str) -> EntryFile:
    """The file of the shipped extension of that name, or of the one in a policy folder's `extensions/`. Raises
    ConfigurationError."""
    own = ((path, f"{EXTENSIONS}/{path.name}") for path in extension_files(Path(folder)))
    names: list[str] = []
    for file, place in (*own, *_shipped()):  # one's own replaces the shipped one
        # A shell makes the file empty before it runs `onboard extension show NAME > NAME.yaml`.
        if (found := _written_name(file)) == name:
            return load_entry_file(file, place)
        names += filter(None, [found])
    raise ConfigurationError("", f"unknown extension {as_written(name)}", known_names("extensions", names, name))


def load_entry_file(file: Traversable, place: str) -> EntryFile:
    """One file of an entry, in either format; `place` is its name, for errors. Raises ConfigurationError."""
    text = _read_text(file, place)
    try:
        return read_entry_file(_parse_text(text, place), place)
    except ConfigurationError as error:
        raise with_line(error, place, text) from error


def _shipped() -> Iterator[tuple[Traversable, str]]:
    """The files of the shipped entries with their places, in the order of their names."""
    folders = [folder for folder in (files("onboarding") / "catalog").iterdir() if folder.is_dir()]
    found = [(file, folder.name) for folder in folders for file in folder.iterdir()]
    for file, folder in sorted(found, key=lambda each: (each[0].name, each[1])):
        if file.name.lower().endswith(_SUFFIXES):
            yield file, f"onboarding/catalog/{folder}/{file.name}"


class _Entries(Mapping[str, CatalogueEntry]):
    """Entries by name. The `unread` ones are read when they are asked for, by name or all of them; one that cannot be
    used is then not there."""

    def __init__(
        self,
        read: dict[str, CatalogueEntry],
        unread: Mapping[str, tuple[Traversable, str]],
        own: Collection[str],
    ) -> None:
        self._read = read
        self._unread = dict(unread)
        self._own = own

    def __getitem__(self, name: str) -> CatalogueEntry:
        if (source := self._unread.pop(name, None)) is not None:
            file, place = source
            with suppress(ConfigurationError):
                raw = _parse_text(_read_text(file, place), place, bounded=False)
                self._read[name] = parse_entry(raw, place, reference_data(), shipped=True)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        """The shipped ones by name, then the user's own."""
        for name in [*self._unread]:
            self.get(name)
        own = [name for name in self._own if name in self._read]
        return iter([*sorted(self._read.keys() - set(own)), *own])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _read_catalogue(
    shipped: Iterable[tuple[Traversable, str]],
    own: Iterable[tuple[Traversable, str]] = (),
    unread: Mapping[str, tuple[Traversable, str]] | None = None,
) -> Catalogue:
    reading = _Reading()
    for file, place in shipped:
        reading.add(file, place, is_shipped=True)
    for file, place in own:
        reading.add(file, place, is_shipped=False)
    entries = _Entries(reading.entries, unread or {}, reading.own)
    catalogue = Catalogue(entries, tuple(reading.left_out), reading.own, tuple(reading.replaced))
    return _without_unmet(catalogue, reading.needing)


class _Reading:
    """A catalogue while its files are read, the shipped ones first."""

    def __init__(self) -> None:
        self.entries: dict[str, CatalogueEntry] = {}
        self.own: dict[str, str] = {}  # the file of each extension of the user's own
        self.left_out: list[LeftOut] = []
        self.replaced: list[Replaced] = []
        self.needing: dict[str, tuple[Traversable, str, bool]] = {}

    def add(self, file: Traversable, place: str, *, is_shipped: bool) -> None:
        text = ""
        try:
            text = _read_text(file, place)
            raw = _parse_text(text, place, bounded=not is_shipped)
            entry = parse_entry(raw, place, reference_data(), shipped=is_shipped)
            _refuse_duplicate(
                entry, self.entries if is_shipped else {name: self.entries[name] for name in self.own}, place
            )
        except ConfigurationError as error:
            name = _name_in(file)
            self.left_out.append(LeftOut(str(file), name, with_line(error, place, text), is_shipped))
            if not is_shipped and name not in self.own:
                self._drop(name)
            return
        if not is_shipped:
            self._replace_shipped(entry, place)
        self.entries[entry.name] = entry
        if entry.needs.extensions:
            self.needing[entry.name] = file, place, is_shipped

    def _replace_shipped(self, entry: CatalogueEntry, place: str) -> None:
        for other in list(self.entries.values()):
            if other.name == entry.name or _same_handler(entry, other):
                self.replaced.append(Replaced(other.name, entry.name, place))
                self._drop(other.name)
        self.own[entry.name] = place

    def _drop(self, name: str) -> None:
        self.entries.pop(name, None)
        self.needing.pop(name, None)


def _without_unmet(catalogue: Catalogue, needing: Mapping[str, tuple[Traversable, str, bool]]) -> Catalogue:
    """The catalogue without the entries that need an extension which is not in it, and without those that need them."""
    for name, (file, place, is_shipped) in needing.items():
        if (entry := catalogue.entries.get(name)) is None:
            continue
        try:
            for index, needed in enumerate(entry.needs.extensions):
                where = f"{place}: needs.extensions[{index}]"
                known_extension(needed, where, catalogue.entries, catalogue.unusable)
        except ConfigurationError as error:
            left_out = LeftOut(str(file), name, with_line(error, place, _read_text(file, place)), is_shipped)
            rest = {other: each for other, each in catalogue.entries.items() if other != name}
            return _without_unmet(replace(catalogue, entries=rest, left_out=(*catalogue.left_out, left_out)), needing)
    return catalogue


def _name_in(file: Traversable) -> str:
    """The name in a file, even in one that is not valid YAML or JSON; else the file's own name."""
    return _written_name(file) or file.name.rpartition(".")[0]


def _written_name(file: Traversable) -> str:
    """The name that a file says; empty if it says none."""
    try:
        name = _NAME.search(read_file(file))
    except (OSError, Unreadable):
        return ""
    return name[1] if name else ""


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
        return PolicySet(()), (_folder_problem(f"{as_written(str(folder), 200)} is not a folder"),)
    policies: list[Policy] = []
    problems: list[str] = []
    try:
        paths = policy_files(folder)
    except OSError as error:
        problem = f"the folder {as_written(str(folder), 200)} cannot be read: {error.strerror}"
        return PolicySet(()), (_folder_problem(problem),)
    for path in paths:
        try:
            policies.append(_load_policy(path, catalogue, unusable or {}, policies))
        except ConfigurationError as error:
            problems.append(str(error))
    if not policies:
        problem = f"the folder {as_written(str(folder), 200)} holds no usable policy, so no VM is onboarded"
        problems.append(_folder_problem(problem))
    return PolicySet(tuple(policies)), tuple(problems)


def _folder_problem(problem: str) -> str:
    return str(ConfigurationError("app setting ONBOARDING_POLICIES", problem, "name a folder with policy files"))


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
        return read_overrides(path, path.name), ()
    except ConfigurationError as error:
        return NO_OVERRIDES, (str(error),)


def read_overrides(path: Path, place: str) -> Overrides:
    """One override file; `place` is its name, for errors. Raises ConfigurationError for whatever is wrong with it."""
    text = _read_text(path, place)
    try:
        return parse_overrides(_parse_text(text, place), place)
    except ConfigurationError as error:
        raise with_line(error, place, text) from error


def _refuse_duplicate(entry: CatalogueEntry, catalogue: Mapping[str, CatalogueEntry], place: str) -> None:
    """Raises ConfigurationError for a name or a handler that another entry has. A VM has each handler only once, so two
    entries for one handler would undo each other's work."""
    if entry.name in catalogue:
        problem = f"another extension has the name {as_written(entry.name)}"
        raise ConfigurationError(f"{place}: name", problem, "give each extension its own name")
    for other in catalogue.values():
        if _same_handler(entry, other):
            problem = f"{entry.publisher}.{entry.type} is already the handler of the extension {as_written(other.name)}"
            raise ConfigurationError(
                f"{place}: type", problem, f"use the extension {as_written(other.name)} in the policy"
            )


def _same_handler(entry: CatalogueEntry, other: CatalogueEntry) -> bool:
    return (entry.publisher.lower(), entry.type.lower()) == (other.publisher.lower(), other.type.lower())


def _load_policy(
    path: Path, catalogue: Mapping[str, CatalogueEntry], unusable: Mapping[str, str], others: Iterable[Policy]
) -> Policy:
    text = _read_text(path, path.name)
    raw = _parse_text(text, path.name)
    try:
        policy = parse_policy(raw, path.name, compile_rule, reference_data().managed())
        policy = with_extensions(policy, path.name, catalogue, unusable)
        if any(policy.name == other.name or _have_one_key(policy, other) for other in others):
            problem = f"another policy has the name {as_written(policy.name)}"
            raise ConfigurationError(f"{path.name}: name", problem, "give each policy its own name")
    except ConfigurationError as error:
        raise with_line(error, path.name, text) from error
    except RecursionError:
        problem = "the policy is nested too deeply"
        raise ConfigurationError(path.name, problem, "write it with fewer levels") from None
    return policy


def _have_one_key(policy: Policy, other: Policy) -> bool:
    """Whether rows of both would have the same key, which is in lower case."""
    return policy.open_target != "" and policy.open_target.lower() == other.open_target.lower()


def with_line(error: ConfigurationError, file: str, text: str) -> ConfigurationError:
    """The error with the line of its place, `agent.yaml:12: rule.allOf[0]`, in the text of the file that it is about.
    The text is looked through only now, and without a line the error stays as it is."""
    path = error.place.removeprefix(f"{file}: ")
    if path == error.place or (nodes := nodes_of(text)) is None:
        return error
    return ConfigurationError(f"{file}:{line_in(nodes, path)}: {path}", error.problem, error.fix)


def _read_text(file: Traversable, place: str) -> str:
    try:
        return read_file(file)
    except Unreadable as error:
        raise ConfigurationError(place, error.problem, error.fix) from error
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
        raise ConfigurationError(place, problem, "put a file there that can be read") from error


def _parse_text(text: str, place: str, *, bounded: bool = True) -> Any:
    try:
        # Not all JSON is valid YAML: it may be indented with tabs.
        return parse_json(text) if place.lower().endswith(".json") else parse_yaml(text, bounded=bounded)
    except Unreadable as error:
        where = f"{place}:{error.line}" if error.line else place
        raise ConfigurationError(where, error.problem, error.fix) from error
