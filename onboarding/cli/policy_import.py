"""`onboard policy import`: an Azure Policy definition, or an initiative, as our policy files.

What cannot be derived is named at the top of the file, and on standard error. The definitions of an initiative are
looked for by id in a folder of definition files; it holds only their ids.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from onboarding.cli.io import BadInput, Commands, write_text
from onboarding.cli.policy_input import load_definition, read_parameters, read_source
from onboarding.core.conditions import NOT_GIVEN, ConditionError, Resource, Undecided, compile_template
from onboarding.core.definition_import import Imported, import_definition
from onboarding.core.definitions import Definition, read_definition
from onboarding.core.foreign import printable
from onboarding.files import load_catalogue
from onboarding.reading import parse_yaml


def add(actions: Commands) -> None:
    parser = actions.add_parser("import", help="turn an Azure Policy definition or initiative into policy files")
    parser.add_argument("file", metavar="FILE", help="the definition or initiative, as Azure publishes it")
    parser.add_argument(
        "-o", "--out", metavar="OUT", help="file to write; a folder for an initiative (default: stdout)"
    )
    parser.add_argument("--parameters", metavar="JSON", help="parameter values, or @file with them")
    parser.add_argument(
        "--definitions", metavar="DIR", help="where an initiative's definitions are (default: beside it)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    values = read_parameters(args.parameters)
    source = read_source(args.file)
    properties = source.data.get("properties", source.data) if isinstance(source.data, dict) else {}
    if isinstance(properties, dict) and isinstance(properties.get("policyDefinitions"), list):
        folder = Path(args.definitions) if args.definitions else Path(args.file).parent
        return _write_all(_members(properties, values, folder), args.out)
    _, definition = load_definition(args.file)
    try:
        imported = _fitted(import_definition(definition, values, catalogue()))
    except ConditionError as error:
        raise BadInput(f"{args.file}: {error}") from None
    _write(imported, Path(args.out) if args.out else None)
    return 0


def catalogue() -> dict[tuple[str, str], str]:
    """The name of the catalogue entry for each publisher and type, lower case."""
    entries = {}
    for path in files("onboarding").joinpath("catalog").iterdir():
        if path.name.endswith(".yaml"):
            raw = parse_yaml(path.read_text(encoding="utf-8"))
            entries[str(raw.get("publisher", "")).lower(), str(raw.get("type", "")).lower()] = str(raw.get("name", ""))
    return entries


def _fitted(imported: Imported) -> Imported:
    """With JSON booleans where the extension takes no others; templates like to write them as texts."""
    entry = load_catalogue().get(imported.policy["extension"])
    booleans = {spec.name for spec in entry.settings if spec.type == "boolean"} if entry else set()
    settings = imported.policy.get("settings", {})
    told = {key: str(value).lower() == "true" for key, value in settings.items() if key in booleans}
    if not told:
        return imported
    return replace(imported, policy={**imported.policy, "settings": {**settings, **told}})


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
    """Every definition of an initiative; those that are not found are named, and the exit code is 1."""
    missing = 0
    folder = Path(out) if out else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for reference, member in members:
        if isinstance(member, str):
            missing += 1
            print(printable(f"{reference}: {member}"), file=sys.stderr)
            continue
        if folder is None:
            sys.stdout.write("---\n")
        _write(member, folder / f"{member.policy['name']}.yaml" if folder else None)
    return 1 if missing else 0


def _members(
    properties: Mapping[str, Any], values: Mapping[str, Any], folder: Path
) -> Iterator[tuple[str, Imported | str]]:
    """Each definition bound to what the initiative passes it, or why it cannot be."""
    known = {key: definition for definition in _definitions(folder) for key in _keys(definition)}
    given = _set_values(properties.get("parameters"), values)
    entries = catalogue()
    for number, member in enumerate(properties["policyDefinitions"]):
        member = member if isinstance(member, dict) else {}
        id_ = str(member.get("policyDefinitionId", ""))
        reference = str(member.get("policyDefinitionReferenceId") or id_ or f"policyDefinitions[{number}]")
        definition = known.get(id_.rpartition("/")[2].lower())
        if definition is None:
            yield reference, f"definition {id_} is not in {folder}; put its file there, or name the folder"
            continue
        try:
            passed = _passed(member.get("parameters"), given)
            yield reference, _fitted(import_definition(definition, passed, entries))
        except (ConditionError, Undecided) as error:
            yield reference, f"cannot be imported: {error}"


def _definitions(folder: Path) -> Iterator[Definition]:
    for path in sorted(folder.glob("*.json")):
        try:
            yield read_definition(read_source(str(path)).data)
        except (ConditionError, BadInput):
            continue  # the folder may hold initiatives and other files as well


def _keys(definition: Definition) -> set[str]:
    return {definition.name.lower(), definition.id.rpartition("/")[2].lower()} - {""}


def _set_values(specs: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    specs = specs if isinstance(specs, dict) else {}
    given = {name.lower(): value for name, value in values.items()}
    return {
        name: given.get(name.lower(), spec.get("defaultValue", NOT_GIVEN) if isinstance(spec, dict) else NOT_GIVEN)
        for name, spec in specs.items()
    }


def _passed(parameters: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the initiative hands on; one that it has no value for is left to the definition."""
    passed = {}
    for name, wrapped in (parameters if isinstance(parameters, dict) else {}).items():
        value = wrapped.get("value") if isinstance(wrapped, dict) else wrapped
        try:
            passed[name] = compile_template(value, given, f"parameters.{name}").of(Resource({}))
        except Undecided:
            continue
    return passed
