"""`onboard policy import`: convert an Azure Policy definition or initiative to policy files of this project.

Of a definition, comments at the top of the file, and standard error, name what could not be converted. Of an initiative
a report says of every member what it became, or why it became nothing; an initiative holds only the ids of its
definitions, so these are looked up in files. Exit codes: 0 done, also where members are left out on purpose; 1 where a
definition is missing or wrong, or a member needs a value; 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from copy import replace
from pathlib import Path
from typing import Any, Final

from onboarding.cli.azure_policy.import_output import (
    as_yaml,
    free_name,
    make_folder,
    renamed,
    report,
    write_entry,
)
from onboarding.cli.azure_policy.initiative_input import definition_folders, keys_of, read_members
from onboarding.cli.command_list import add_action
from onboarding.cli.io import BadInput, Commands, write_text
from onboarding.cli.policy.definition_input import load_kept
from onboarding.cli.policy.policy_input import Source, policy_folder, read_parameters, read_source
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.entry_of_request import entry_of_request
from onboarding.domain.json_access import mapping, printable
from onboarding.domain.policy.conditions import ConditionError, Undecided
from onboarding.domain.policy.definitions.definition import Definition, read_kept
from onboarding.domain.policy.definitions.definition_forms import Kept
from onboarding.domain.policy.definitions.definition_import import Imported, import_definition, system_of
from onboarding.domain.policy.definitions.imported_settings import with_booleans
from onboarding.domain.policy.definitions.initiative import (
    PolicyAssignment,
    check_known,
    members_of,
    read_assignment,
)
from onboarding.domain.policy.definitions.initiative_import import ImportedSet, import_initiative
from onboarding.loading.policy_folder import load_catalogue_of

_MAX_NAME: Final = 64
_REPORTS: Final = ("table", "json", "csv")


def add(actions: Commands) -> None:
    parser = add_action(actions, "import")
    parser.add_argument("file", metavar="FILE", help="the definition or initiative, in Azure's own form")
    parser.add_argument(
        "-o", "--out", metavar="OUT", help="file to write, or folder for an initiative (default: stdout)"
    )
    add_values(parser)
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and print the report of an initiative")
    parser.add_argument(
        "--report",
        choices=_REPORTS,
        help="form of an initiative's report; it is on stdout with --out or --dry-run (default: table)",
    )
    parser.set_defaults(run=run)


def add_values(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which values and definitions an initiative has."""
    parser.add_argument("--parameters", metavar="JSON", help="values of its parameters, or @FILE")
    parser.add_argument(
        "--parameter",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="value of one parameter, as text or JSON; may be given several times",
    )
    parser.add_argument(
        "--assignment", metavar="FILE", help="an assignment of it: its parameters, scope, overrides and enforcement"
    )
    parser.add_argument(
        "--definitions",
        metavar="FOLDER",
        action="append",
        default=[],
        help="folder with an initiative's definitions, searched with all its folders; may be given several times"
        " (default: that of FILE, and definitions/ there)",
    )


def run(args: argparse.Namespace) -> int:
    assignment = read_assignment_file(args.assignment)
    values = given_values(args, assignment)
    source, kept = load_kept(args.file, values)
    if any(each.is_initiative for each in kept):
        return _import_initiatives(args, source, kept, values, assignment)
    entries = load_catalogue_of(Path(policy_folder(os.environ))).entries
    if len(kept) > 1:
        return _write_all(_import_all(kept, values, entries), None if args.dry_run else args.out)
    try:
        definition = _with_name(read_kept(kept[0]), Path(args.file))
    except ConditionError as error:
        raise source.error(error.place, error.problem, error.fix) from error
    try:
        imported = _import(definition, values, entries)
    except ConditionError as error:
        raise source.error(error.place, error.problem, error.fix) from error
    _write(imported, Path(args.out) if args.out and not args.dry_run else None, entries)
    return 0


def read_assignment_file(path: str | None) -> PolicyAssignment | None:
    if not path:
        return None
    source = read_source(path, with_comments=True)
    try:
        return read_assignment(source.data)
    except ConditionError as error:
        raise source.error("", error.problem, error.fix) from error


def given_values(args: argparse.Namespace, assignment: PolicyAssignment | None) -> dict[str, Any]:
    """The values of --assignment, --parameters and --parameter; what is said later counts."""
    values = dict(assignment.parameters) if assignment else {}
    given = [read_parameters(args.parameters), *(dict([_pair(text)]) for text in args.parameter)]
    for each in given:
        folded = {name.lower() for name in each}
        values = {name: value for name, value in values.items() if name.lower() not in folded} | {
            name: mapping(value)["value"] if isinstance(value, dict) and set(value) == {"value"} else value
            for name, value in each.items()
        }
    return values


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadInput("--parameter", f"'{printable(text)}' does not give a parameter a value", "write name=value")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def _import_initiatives(
    args: argparse.Namespace,
    source: Source,
    kept: tuple[Kept, ...],
    values: Mapping[str, Any],
    assignment: PolicyAssignment | None,
) -> int:
    """The policies of every initiative in the file, and of the definitions that belong to none."""
    out = None if args.dry_run else args.out
    folder = make_folder(out) if out else None
    entries = dict(load_catalogue_of(folder or Path(policy_folder(os.environ))).entries)
    results = initiatives_of(args, source, kept, values, assignment, entries)
    wrong = 0
    taken: set[str] = set()
    forms = []
    for head, found in results:
        result = found
        written: list[Path] = []
        if folder:
            names = {str(policy["name"]): free_name(folder, policy, taken) for policy in result.policies}
            result = renamed(result, names)
            written = _write_set(folder, result, head)
        elif not args.dry_run:
            for policy in result.policies:
                sys.stdout.write(f"---\n{as_yaml(policy)}")
        to_fix = [member for member in result.members if member.reason and member.fix and not member.effect]
        missing = [each for each in to_fix if _can_be_given(each.reason)]
        wrong += len(missing)
        for member in missing:
            print(printable(f"{member.reference}: {member.reason}; {member.fix}"), file=sys.stderr)
        forms.append(report(args.report or "table", result, head, written))
    print("\n".join(forms), file=sys.stdout if folder or args.dry_run else sys.stderr)
    alone = tuple(each for each in kept if not each.is_initiative)
    named = {each.key for one in kept if one.is_initiative for each in members_of(one)}
    rest = tuple(each for each in alone if not keys_of(each) & named)
    return max(1 if wrong else 0, _write_all(_import_all(rest, values, entries), out) if rest else 0)


def _can_be_given(reason: str) -> bool:
    """Whether the member is left out for something that is missing or wrong, not for what it is."""
    return reason.startswith(("definition ", "cannot be imported", "it cannot be imported", "its conditions need"))


def initiatives_of(
    args: argparse.Namespace,
    source: Source,
    kept: tuple[Kept, ...],
    values: Mapping[str, Any],
    assignment: PolicyAssignment | None,
    entries: Mapping[str, CatalogueEntry],
) -> list[tuple[str, ImportedSet]]:
    """Each initiative of a file by name, with what became of it."""
    initiatives = tuple(each for each in kept if each.is_initiative)
    folders = definition_folders(args.file, args.definitions)
    own: dict[str, Definition] = {}
    results = []
    try:
        check_known(initiatives, values)
        for each in kept:
            if not each.is_initiative:
                own |= dict.fromkeys(keys_of(each), read_kept(each))
        for each in initiatives:
            if not members_of(each):
                place = each.properties_place
                raise ConditionError(
                    f"{place}.policyDefinitions" if place else "policyDefinitions",
                    "the initiative has no members",
                    "give an initiative with members",
                )
            name = str(each.properties.get("displayName") or each.name or Path(args.file).stem)
            members = read_members(each, values, own, folders, assignment)
            results.append((name, _assigned(import_initiative(members, entries, each.name or name), assignment)))
    except ConditionError as error:
        raise source.error(error.place, error.problem, error.fix) from error
    return results


def _assigned(result: ImportedSet, assignment: PolicyAssignment | None) -> ImportedSet:
    """The policies in the assignment's scope; where it is not enforced they only audit, as it does."""
    if assignment is None:
        return result
    more: dict[str, Any] = {"scope": [assignment.scope] if assignment.scope else []}
    if assignment.not_scopes:
        more["notScopes"] = list(assignment.not_scopes)
    policies = [{**policy, **more} for policy in result.policies]
    if not assignment.enforced:
        for policy in policies:
            deploys = policy["effect"] == "deployIfNotExists"
            policy["effect"] = "auditIfNotExists" if deploys else policy["effect"]
    return replace(result, policies=tuple(policies))


def _write_set(folder: Path, result: ImportedSet, head: str) -> list[Path]:
    written = []
    for entry in result.entries:
        path = write_entry(folder, entry, head)
        written += [path] if path else []
    notes = {
        each.policy: list(member.notes)
        for member in result.members
        for each in member.becomes
        if each.step == "extension"
    }
    for policy in result.policies:
        path = folder / f"{policy['name']}.yaml"
        members = [
            f"{member.reference}: {each.step}"
            for member in result.members
            for each in member.becomes
            if each.policy == policy["name"]
        ]
        lines = [f"From the initiative {head}:", *(f"  {line}" for line in members), *notes.get(policy["name"], [])]
        write_text(path, as_yaml(policy, lines))
        written.append(path)
    return written


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
    settings = with_booleans(entry.settings, imported.policy["settings"])
    return replace(imported, policy={**imported.policy, "settings": settings})


def _write(imported: Imported, path: Path | None, entries: Mapping[str, CatalogueEntry]) -> None:
    text = as_yaml(imported.policy, imported.notes)
    if path is None:
        sys.stdout.write(text)
        return
    write_text(path, text)
    notes = [*imported.notes, *_own_entry(imported, path.parent, entries)]
    for note in notes:
        print(printable(f"{imported.policy['name']}: {note}"), file=sys.stderr)


def _own_entry(imported: Imported, folder: Path, entries: Mapping[str, CatalogueEntry]) -> Iterator[str]:
    """Write an entry for the extension of a policy that the catalogue lacks, beside the policy."""
    found = imported.extension
    if found is None or imported.policy["extension"] in entries or "FILL-IN" in (found.publisher, found.type):
        return
    entry = entry_of_request(
        found.publisher,
        found.type,
        system_of(found, imported.policy["rule"]),
        version=found.version,
        resource_name=found.name,
        automatic_upgrade=found.enable_automatic_upgrade,
        minor_upgrades=found.auto_upgrade_minor_version,
        settings=found.settings,
        protected_settings=found.protected_settings,
    )
    if (written := write_entry(folder, entry, str(imported.policy["name"]))) is not None:
        yield f"extension: {written} was made from the definition's template; complete it"


def _write_all(members: Iterator[tuple[str, Imported | str]], out: str | None) -> int:
    """Write every definition of a list, each under its own name. Definitions that cannot be written are reported, and
    the exit code is 1."""
    missing = 0
    taken: set[str] = set()
    folder = make_folder(out) if out else None
    for reference, member in members:
        if isinstance(member, str):
            missing += 1
            print(printable(f"{reference}: {member}"), file=sys.stderr)
            continue
        if folder is None:
            sys.stdout.write("---\n")
        member = _renamed(member, taken)
        _write(member, folder / f"{member.policy['name']}.yaml" if folder else None, {})
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
    kept: tuple[Kept, ...], values: Mapping[str, Any], entries: Mapping[str, CatalogueEntry]
) -> Iterator[tuple[str, Imported | str]]:
    """The definitions of a list."""
    for each in kept:
        try:
            definition = read_kept(each)
            known = {key.lower() for key in definition.parameters}
            given = {key: value for key, value in values.items() if key.lower() in known}
            yield each.name or each.place, _import(definition, given, entries)
        except (ConditionError, Undecided) as error:
            yield each.name or each.place, f"cannot be imported: {error}"
