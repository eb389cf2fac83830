"""`onboard policy validate`: find every error of policy, extension and definition files, with file and line, and warn
of each value that a rule reads and that may be unknown. It works offline.

Policies are checked against the catalogue: the extensions of the package and those of the folder's `extensions/`. Exit
codes: 0 no error, 1 at least one error, 2 there is nothing to validate.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct

from onboarding.cli.command_list import add_action
from onboarding.cli.io import BadInput, Commands, as_json, counted
from onboarding.cli.output import FORMERLY_DOCUMENT, Form, add_output, write_records
from onboarding.cli.policy.definition_input import kept_of
from onboarding.cli.policy.folder_warnings import need_warnings, removal_warnings
from onboarding.cli.policy.policy_input import Source, folder_or_file, read_source
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry, parse_entry
from onboarding.domain.catalog.entry_file import read_entry_file
from onboarding.domain.catalog.secret_names import exposed_secrets
from onboarding.domain.errors import ConfigurationError, as_written, error_text, unknown_key
from onboarding.domain.image.overrides import parse_overrides
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_kind import MachineKind
from onboarding.domain.machine.resource_containers import GROUP, RIGHTS, SUBSCRIPTION
from onboarding.domain.policy.active_when import ActiveWhen
from onboarding.domain.policy.conditions import ConditionError
from onboarding.domain.policy.conditions.compiler import condition_errors
from onboarding.domain.policy.conditions.external_values import external_values_in, places
from onboarding.domain.policy.definitions.definition import kept_errors
from onboarding.domain.policy.definitions.definition_forms import is_definition, parameters_in
from onboarding.domain.policy.policy_file import PolicyFile, parse_policy
from onboarding.domain.policy.policy_settings import settings_errors
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.typed_file import keys_of, read_as
from onboarding.loading.package_data import managed_kinds, reference_data
from onboarding.loading.policy_extensions import (
    check_support_table,
    conflicts,
    extension_places,
    known_extension,
)
from onboarding.loading.policy_folder import (
    EXTENSIONS,
    OVERRIDES,
    Catalogue,
    LeftOut,
    extension_files,
    load_catalogue_of,
    policy_files,
)

_MOST = 100  # errors of one file
_MOST_WARNINGS = 100  # of one file


class FileError(Struct, frozen=True):
    """An error or a warning, and its place in a file."""

    file: str
    line: int
    place: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return error_text(": ".join(filter(None, (f"{self.file}:{self.line}", self.place))), self.problem, self.fix)

    def as_dict(self) -> dict[str, Any]:
        message = error_text("", self.problem, self.fix)
        return {"file": self.file, "line": self.line, "place": self.place, "message": message}


def add(actions: Commands) -> None:
    parser = add_action(actions, "validate")
    parser.add_argument("files", nargs="*", metavar="FILE", help="files or folders (default: policies)")
    add_output(parser, formerly=FORMERLY_DOCUMENT)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    named = [path for name in args.files or ["policies"] for path in _files(folder_or_file(name))]
    return validate_files(named, args.output)


def validate_files(named: Iterable[Path], form: Form, *, entries: bool = False) -> int:
    """Print what is wrong with files, each once, and return the exit code. `entries`: each is a catalogue entry,
    wherever it is, and only what is wrong with these files counts."""
    paths = list({path.resolve(): path for path in named}.values())
    validation = _Validation(paths, entries=entries)
    errors, warnings, notes = list(validation.errors()), validation.warnings, validation.notes
    if form in (Form.JSONL, Form.CSV):
        found = [("error", each) for each in errors] + [("warning", each) for each in warnings]
        found += [("note", each) for each in notes]
        records = ({"kind": kind, **each.as_dict()} for kind, each in found)
        write_records(form, ("kind", "file", "line", "place", "message"), records)
    elif form is Form.JSON:
        groups = {"errors": errors, "warnings": warnings, "notes": notes}
        as_dicts = {name: [each.as_dict() for each in group] for name, group in groups.items()}
        print(as_json({"files": len(paths), **as_dicts}))
    else:
        lines = [
            *map(str, errors),
            *(f"warning: {warning}" for warning in warnings),
            *(f"note: {note}" for note in notes),
        ]
        counts = f"{counted(len(paths), 'file')}, {counted(len(errors), 'error')}"
        counts += f", {counted(len(warnings), 'warning')}" if warnings else ""
        print("\n".join([*map(printable, lines), counts]))
    return 1 if errors else 0


_GIVE = "give policy files, or a folder of them"


def _files(path: Path) -> list[Path]:
    try:
        if not path.exists():
            raise BadInput(str(path), "the file or folder is not there", _GIVE)
        if not path.is_dir():
            return [path]
        policies = policy_files(path)
    except (OSError, ValueError) as error:
        raise BadInput(str(path), f"the file or folder cannot be read: {error}", _GIVE) from error
    if not policies:
        fix = "give a folder with files that end in .yaml, .yml or .json; those of folders inside it do not count"
        raise BadInput(str(path), "the folder holds no policy file", fix)
    overrides = path / OVERRIDES
    return [*policies, *extension_files(path), *([overrides] if overrides.is_file() else [])]


def _is_extension(path: Path) -> bool:
    return path.parent.name == EXTENSIONS


class _Folder:
    """What the files of one policy folder share: the catalogue, and the names of the policies that were read so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.policies: dict[str, str] = {}
        self.sources: list[Source] = []

    @cached_property
    def catalogue(self) -> Catalogue:
        return load_catalogue_of(self._path)


class _Validation:
    """One run over files, which may be in several folders. `warnings` and `notes` are those of the files that were read
    so far; a note says that the app settings of this shell do not make a policy active."""

    def __init__(self, paths: list[Path], *, entries: bool = False) -> None:
        self._paths = paths
        self._entries = entries
        self._folders: dict[Path, _Folder] = {}
        self.warnings: list[FileError] = []
        self.notes: list[FileError] = []

    def errors(self) -> Iterator[FileError]:
        for path in self._paths:
            yield from self._of_file(path)
        if not self._entries:
            yield from self._of_catalogues()
        for folder in self._folders.values():
            policies = [(source.name, source.data) for source in folder.sources]
            found = (*removal_warnings(policies), *need_warnings(policies, folder.catalogue.entries))
            self.warnings += (_file_error(folder.sources[place], warning) for place, warning in found)

    def _folder(self, path: Path) -> _Folder:
        """The policy folder of a file."""
        home = path.parent.parent if _is_extension(path) else path.parent
        return self._folders.setdefault(home.resolve(), _Folder(home))

    def _of_file(self, path: Path) -> Iterator[FileError]:
        source = _read(str(path))
        if isinstance(source, FileError):
            yield source
            return
        if self._is_entry(path, source.data):
            self.warnings += (_file_error(source, warning) for warning in _entry_warnings(source.data))
        elif path.name != OVERRIDES:
            found = islice(find_warnings(source.data), _MOST_WARNINGS)
            self.warnings += (_file_error(source, warning) for warning in found)
            self.notes += (_file_error(source, note) for note in _not_active(source.data))
        for number, error in enumerate(self._errors(path, source), 1):
            if number > _MOST:
                yield FileError(
                    source.name, 1, "", f"the file has more than {_MOST} errors", "correct those above first"
                )
                return
            yield _file_error(source, error)

    def _is_entry(self, path: Path, data: Any) -> bool:
        return self._entries or _is_extension(path) or _has_handler(data)

    def _errors(self, path: Path, source: Source) -> Iterable[ConditionError]:
        folder = self._folder(path)
        if path.name == OVERRIDES and not self._entries:
            return _errors_of(source, lambda: parse_overrides(source.data, source.name))
        if self._is_entry(path, source.data):
            return _entry_errors(source, _left_out(folder.catalogue, path))
        if is_definition(source.data):
            return _definition_errors(source)
        if parameters_in(source.data) is not None:
            return ()
        if path.stem.endswith(".cases"):
            return [ConditionError("", "the file holds cases and no policy", "run `onboard policy test` on it")]
        return _policy_errors(source, folder)

    def _of_catalogues(self) -> Iterator[FileError]:
        """Errors of catalogue files that cannot be used and are not validated themselves: policies need them."""
        seen = {path.resolve() for path in self._paths}
        for folder in self._folders.values():
            for each in folder.catalogue.left_out:
                path = Path(each.path).resolve()
                if path not in seen:
                    seen.add(path)
                    yield _catalogue_file_error(each)


def _read(path: str) -> Source | FileError:
    try:
        return read_source(path)
    except BadInput as unreadable:
        line = unreadable.place.removeprefix(f"{path}:")
        return FileError(path, int(line) if line.isdecimal() else 1, "", unreadable.problem, unreadable.fix)


def _catalogue_file_error(left_out: LeftOut) -> FileError:
    """The error of a catalogue file, with its line."""
    source = _read(left_out.path)
    if isinstance(source, FileError):
        return source
    return _file_error(source, next(iter(_entry_errors(source, left_out))))


def _file_error(source: Source, error: ConditionError) -> FileError:
    return FileError(source.name, source.line_of(error.place), error.place, error.problem, error.fix)


def _left_out(catalogue: Catalogue, path: Path) -> LeftOut | None:
    here = path.resolve()
    return next((each for each in catalogue.left_out if Path(each.path).resolve() == here), None)


def _entry_errors(source: Source, left_out: LeftOut | None) -> Iterator[ConditionError]:
    """The first error of an extension file; if the file itself is correct, why the catalogue does not use it."""
    found = list(_errors_of(source, lambda: parse_entry(source.data, source.name, reference_data())))
    if not found and left_out is not None:
        error = left_out.error
        found = [ConditionError(error.place.partition(": ")[2], error.problem, error.fix)]
    yield from found


def _entry_warnings(data: Any) -> Iterator[ConditionError]:
    """A warning for whatever is likely to fail, or to show a secret, although the file can be used."""
    try:
        file = read_entry_file(data, "")
    except ConfigurationError:
        return  # it is an error of the file
    if not file.version and MachineKind.VM in file.machines:
        problem = "the entry has no version, and Azure refuses an extension of a VM without one"
        fix = 'add the version, as in `version: "1.0"`; `az vm extension image list-versions` lists those of a region'
        yield ConditionError("", problem, fix)
    yield from map(_as_condition_error, exposed_secrets(file.settings))


def _has_handler(data: Any) -> bool:
    return isinstance(data, dict) and {"publisher", "type"} <= data.keys() and "extension" not in data


def _definition_errors(source: Source) -> Iterator[ConditionError]:
    """The errors of every definition in the file. An initiative next to its definitions has no rule to check."""
    try:
        kept = kept_of(source, quiet=True)
    except ConditionError as error:
        yield error
        return
    for each in kept:
        if len(kept) == 1 or not each.is_initiative:
            yield from kept_errors(each)


def _not_active(data: Any) -> Iterator[ConditionError]:
    """A note for a policy that the app settings of this shell do not make active."""
    if not isinstance(data, dict) or not isinstance(data.get("activeWhen"), dict):
        return
    try:
        why = read_as(data["activeWhen"], ActiveWhen, "").unmet(os.environ)
    except ConfigurationError:
        return  # it is an error of the file
    if why:
        problem = f"{PolicyFile.called(data)} is not active with the settings of this shell: {why}"
        yield ConditionError("activeWhen", problem, "nothing is wrong; in Azure the app's own settings count")


def _part(value: Any, key: str) -> dict[str, Any]:
    part = value.get(key) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}


def _policy_errors(source: Source, folder: _Folder) -> Iterator[ConditionError]:
    """All errors of both conditions, of the keys and of the check against the catalogue, and the first other error."""
    if not isinstance(source.data, dict):
        yield from _errors_of(source, lambda: parse_policy(source.data, source.name, compile_rule, managed_kinds()))
        return
    data = source.data
    folder.sources.append(source)
    parameters = _part(data, "parameters")
    conditions = {key: data[key] for key in ("rule", "existenceCondition") if data.get(key) is not None}
    for key, condition in conditions.items():
        yield from condition_errors(condition, parameters, key)
    name = data.get("name")
    known = keys_of(PolicyFile)
    for key in (key for key in data if key not in known):
        yield _as_condition_error(unknown_key(str(key), key, PolicyFile.called(data), known))
    rest = {key: value for key, value in data.items() if key in known and key not in conditions}
    yield from _errors_of(source, lambda: parse_policy(rest, source.name, compile_rule, managed_kinds()))
    yield from _catalogue_errors(source, data, folder.catalogue)
    other = folder.policies.setdefault(name, source.name) if isinstance(name, str) and name else source.name
    if other != source.name:
        problem = f"the policy in {other} has the name {as_written(name)} too"
        yield ConditionError("name", problem, "give each policy its own name")


def _catalogue_errors(source: Source, data: Mapping[str, Any], catalogue: Catalogue) -> Iterator[ConditionError]:
    given = data.get("extension")
    listed = given if isinstance(given, list) else [given]
    names = tuple(name for name in listed if isinstance(name, str) and name)
    if len({*names}) < len(listed):
        return  # parse_policy reports it
    entries: list[CatalogueEntry] = []
    for name, place in extension_places(names):
        try:
            entries.append(known_extension(name, place, catalogue.entries, catalogue.unusable))
        except ConfigurationError as error:
            yield _as_condition_error(error)
    yield from map(_as_condition_error, conflicts(entries))
    found: list[ConditionError] = []
    for entry in entries:
        table = partial(check_support_table, str(data.get("supportTable") or ""), "supportTable", entry)
        found += _errors_of(source, table)
        found += map(_as_condition_error, settings_errors(entry, data))
    yield from {(error.place, str(error)): error for error in found}.values()


def _errors_of(source: Source, parse: Any) -> Iterator[ConditionError]:
    """The first error, with which parsing ends."""
    try:
        parse()
    except ConfigurationError as error:
        place = error.place.removeprefix(source.name).lstrip(": ")
        yield ConditionError(place, error.problem, error.fix)


def _as_condition_error(error: ConfigurationError) -> ConditionError:
    return ConditionError(error.place, error.problem, error.fix)


# Parts of policies and definitions that hold no condition; ARM evaluates the templates.
_SKIPPED = frozenset(
    (
        *("deployment", "description", "displayname", "exemptions", "metadata"),
        *("parameters", "source", "settings", "protectedsettings"),
    )
)
_CONTAINER_NAMES = {GROUP: "resource group", SUBSCRIPTION: "subscription"}


def find_warnings(data: Any) -> Iterator[ConditionError]:
    """A warning for each value that may be unknown, at each place of a policy or definition file."""
    for place, text in places(data, skipped=_SKIPPED):
        for root, name in dict.fromkeys(external_values_in(text)):
            yield ConditionError(place, *_warning(root, f"{root}().{name}" if name else f"{root}()"))


def _warning(root: str, value: str) -> tuple[str, str]:
    """The problem and the fix."""
    if root in RIGHTS:
        return (
            f"{value} is not part of a VM: it costs one read per hour for each {_CONTAINER_NAMES[root]}, and the"
            f" identity needs {RIGHTS[root]}",
            "give --around to commands on files",
        )
    return f"{value} is unknown here: where it matters, the outcome is Undetermined", "write its value instead"
