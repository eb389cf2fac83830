"""`onboard policy import`: convert an Azure Policy definition or initiative to policy files of this project.

Comments at the top of a file, and standard error, name what could not be converted. An initiative holds only the ids of
its definitions, so these are looked up in a folder of definition files.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping
from copy import replace
from pathlib import Path
from typing import Any, Final

import yaml

from onboarding.cli.command_list import add_action
from onboarding.cli.io import BadInput, Commands, write_text
from onboarding.cli.policy.definition_input import load_kept
from onboarding.cli.policy.policy_input import policy_folder, read_parameters
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.setting_schema import SettingSchema
from onboarding.domain.json_access import printable
from onboarding.domain.policy.conditions import NOT_GIVEN, ConditionError, Resource, Undecided, compile_template
from onboarding.domain.policy.definitions.definition import Definition, read_kept
from onboarding.domain.policy.definitions.definition_forms import Kept, spelled
from onboarding.domain.policy.definitions.definition_import import Imported, import_definition
from onboarding.loading.policy_folder import load_catalogue_of

_MAX_NAME: Final = 64


def add(actions: Commands) -> None:
    parser = add_action(actions, "import")
    parser.add_argument("file", metavar="FILE", help="the definition or initiative, in Azure's own form")
    parser.add_argument(
        "-o", "--out", metavar="OUT", help="file to write, or folder for an initiative (default: stdout)"
    )
    parser.add_argument("--parameters", metavar="JSON", help="values of its parameters, or @FILE")
    parser.add_argument(
        "--definitions", metavar="DIR", help="folder of an initiative's definitions (default: that of FILE)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    values = read_parameters(args.parameters)
    source, kept = load_kept(args.file, values)
    entries = load_catalogue_of(Path(policy_folder(os.environ))).entries
    if len(kept) > 1 or kept[0].is_initiative:
        folder = Path(args.definitions) if args.definitions else Path(args.file).parent
        if not any(_members_of(each) for each in kept if each.is_initiative) and len(kept) == 1:
            fix = "give an initiative with members"
            raise source.error("policyDefinitions", "the initiative has no members", fix)
        return _write_all(_import_all(kept, values, folder, entries), args.out)
    try:
        definition = _with_name(read_kept(kept[0]), Path(args.file))
    except ConditionError as error:
        raise source.error(error.place, error.problem, error.fix) from error
    try:
        imported = _import(definition, values, entries)
    except ConditionError as error:
        raise source.error(error.place, error.problem, error.fix) from error
    _write(imported, Path(args.out) if args.out else None)
    return 0


def _with_name(definition: Definition, path: Path) -> Definition:
    """The definition with a name. A rule alone takes the name of its file, or of its folder if the file is
    `azurepolicy…`."""
    if definition.name or definition.display_name:
        return definition
    stem = path.name.partition(".")[0]
    return replace(definition, name=path.absolute().parent.name if stem.lower() == "azurepolicy" else stem)


def by_handler(entries: Mapping[str, CatalogueEntry]) -> dict[tuple[str, str], str]:
    """The name of the catalogue entry for each publisher and type, in lower case."""
    return {(entry.publisher.lower(), entry.type.lower()): entry.name for entry in entries.values()}


def _import(definition: Definition, values: Mapping[str, Any], entries: Mapping[str, CatalogueEntry]) -> Imported:
    """Import a definition, with JSON booleans where the extension needs them: definitions often write them as texts."""
    imported = import_definition(definition, values, by_handler(entries))
    entry = entries.get(imported.policy["extension"])
    if entry is None or "settings" not in imported.policy:
        return imported
    settings = _with_booleans(entry.settings, imported.policy["settings"])
    return replace(imported, policy={**imported.policy, "settings": settings})


def _with_booleans(schema: SettingSchema, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_booleans(schema.at(name), each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_booleans(schema.each_item, each) for each in value]
    return str(value).lower() == "true" if schema.kind == "boolean" else value


def _write(imported: Imported, path: Path | None) -> None:
    head = "".join(f"# {printable(note)}\n" for note in imported.notes)
    body = yaml.safe_dump(dict(imported.policy), sort_keys=False, allow_unicode=True, width=120)
    if not body.replace("\n", "").isprintable():
        body = yaml.safe_dump(dict(imported.policy), sort_keys=False, width=120)  # escapes what is not ASCII
    text = head + body
    if path is None:
        sys.stdout.write(text)
        return
    write_text(path, text)
    for note in imported.notes:
        print(printable(f"{imported.policy['name']}: {note}"), file=sys.stderr)


def _write_all(members: Iterator[tuple[str, Imported | str]], out: str | None) -> int:
    """Write every definition of a list or an initiative, each under its own name. Definitions that cannot be written
    are reported, and the exit code is 1."""
    missing = 0
    taken: set[str] = set()
    folder = Path(out) if out else None
    try:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder cannot be made: {error.strerror}"
        raise BadInput(str(folder), problem, "name a folder, which several policies need") from error
    for reference, member in members:
        if isinstance(member, str):
            missing += 1
            print(printable(f"{reference}: {member}"), file=sys.stderr)
            continue
        if folder is None:
            sys.stdout.write("---\n")
        member = _renamed(member, taken)
        _write(member, folder / f"{member.policy['name']}.yaml" if folder else None)
    return 1 if missing else 0


def _renamed(imported: Imported, taken: set[str]) -> Imported:
    """The policy with a number after a name that is taken: long names are cut, and a definition may occur twice."""
    name = own = str(imported.policy["name"])
    number = 1
    while name in taken:
        number += 1
        name = f"{own[: _MAX_NAME - len(str(number)) - 1]}-{number}"
    taken.add(name)
    return replace(imported, policy={**imported.policy, "name": name})


def _import_all(
    kept: tuple[Kept, ...], values: Mapping[str, Any], folder: Path, entries: Mapping[str, CatalogueEntry]
) -> Iterator[tuple[str, Imported | str]]:
    """The members of the initiatives, then the definitions that belong to no initiative."""
    own: dict[str, Definition] = {}
    alone: list[tuple[str, Definition]] = []
    for each in kept:
        if each.is_initiative:
            continue
        try:
            definition = read_kept(each)
        except ConditionError as error:
            yield each.name or each.place, f"cannot be imported: {error}"
            continue
        alone.append((each.name or each.place, definition))
        own |= dict.fromkeys(_keys(definition), definition)
    named: set[str] = set()
    for each in kept:
        if each.is_initiative:
            named |= {_key(member) for member in _members_of(each)}
            yield from _members(each, values, {**_in_folder(folder), **own}, folder, entries)
    for name, definition in alone:
        if not _keys(definition) & named:
            known = {key.lower() for key in definition.parameters}
            given = {key: value for key, value in values.items() if key.lower() in known}
            yield name, _imported(definition, given, entries)


def _imported(
    definition: Definition, values: Mapping[str, Any], entries: Mapping[str, CatalogueEntry]
) -> Imported | str:
    try:
        return _import(definition, values, entries)
    except (ConditionError, Undecided) as error:
        return f"cannot be imported: {error}"


def _members_of(initiative: Kept) -> list[Mapping[str, Any]]:
    listed = initiative.properties.get("policyDefinitions")
    return (
        [spelled(member) if isinstance(member, Mapping) else {} for member in listed]
        if isinstance(listed, list)
        else []
    )


def _members(
    initiative: Kept,
    values: Mapping[str, Any],
    known: Mapping[str, Definition],
    folder: Path,
    entries: Mapping[str, CatalogueEntry],
) -> Iterator[tuple[str, Imported | str]]:
    """Each definition with the values that the initiative passes to it, or why it cannot be imported."""
    given = _set_values(initiative.properties.get("parameters"), values)
    for number, member in enumerate(_members_of(initiative)):
        id_ = str(member.get("policyDefinitionId", ""))
        reference = str(member.get("policyDefinitionReferenceId") or id_ or f"policyDefinitions[{number}]")
        definition = known.get(_key(member))
        if definition is None:
            yield reference, f"definition {id_} is not in {folder}; put its file there, or name the folder"
            continue
        try:
            passed = _passed(member.get("parameters"), given)
        except ConditionError as error:
            yield reference, f"cannot be imported: {error}"
            continue
        yield reference, _imported(definition, passed, entries)


def _key(member: Mapping[str, Any]) -> str:
    """The name of a definition: the end of its id, or the last text of the template expression that makes the id."""
    id_ = str(member.get("policyDefinitionId", ""))
    texts = re.findall(r"'([^']*)'", id_) if id_.startswith("[") else []
    return (texts[-1] if texts else id_).rpartition("/")[2].lower()


def _in_folder(folder: Path) -> dict[str, Definition]:
    return {key: definition for definition in _definitions(folder) for key in _keys(definition)}


def _definitions(folder: Path) -> Iterator[Definition]:
    for path in sorted(folder.glob("*.json")):
        try:
            _, kept = load_kept(str(path), quiet=True)
        except BadInput:
            continue  # the folder may hold other files
        for each in kept:
            try:
                yield read_kept(each)
            except ConditionError:
                continue  # an initiative, or a definition that no member may need


def _keys(definition: Definition) -> set[str]:
    return {definition.name.lower(), definition.id.rpartition("/")[2].lower()} - {""}


def _set_values(specs: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    specs = specs if isinstance(specs, dict) else {}
    given = {name.lower(): value for name, value in values.items()}
    return {
        name: given.get(
            name.lower(), spelled(spec).get("defaultValue", NOT_GIVEN) if isinstance(spec, dict) else NOT_GIVEN
        )
        for name, spec in specs.items()
    }


def _passed(parameters: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the initiative passes on. Where it has no value, the default of the definition applies."""
    passed = {}
    for name, wrapped in (parameters if isinstance(parameters, dict) else {}).items():
        value = wrapped.get("value") if isinstance(wrapped, dict) else wrapped
        try:
            passed[name] = compile_template(value, given, f"parameters.{name}").of(Resource({}))
        except Undecided:
            continue
    return passed
