"""Reads an initiative's members: their definitions are in the same file, beside it, in `definitions/`, or in folders
that a person names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from onboarding.cli.io import BadInput, read_text
from onboarding.cli.policy.definition_input import load_kept
from onboarding.domain.policy.conditions import ConditionError
from onboarding.domain.policy.definitions.definition import Definition, read_kept
from onboarding.domain.policy.definitions.definition_forms import Kept
from onboarding.domain.policy.definitions.initiative import (
    MemberReference,
    PolicyAssignment,
    members_of,
    names_in,
    passed_values,
    set_values,
)
from onboarding.domain.policy.definitions.initiative_import import SetMember

_BESIDE = "definitions"


class Folder(Struct, frozen=True):
    """A folder with definitions."""

    path: Path
    deep: bool  # with all the folders in it


def definition_folders(file: str, named: Sequence[str]) -> list[Folder]:
    """The folders to look in: those that a person names with all their folders, else that of the file and the one
    beside it. Raises BadInput for a named one that is not there."""
    for name in named:
        if not Path(name).is_dir():
            raise BadInput(name, "the folder does not exist", "name a folder with definition files")
    parent = Path(file).parent
    beside = [Folder(parent, deep=False), Folder(parent / _BESIDE, deep=True)]
    return [Folder(Path(name), deep=True) for name in named] or beside


def read_members(
    initiative: Kept,
    values: Mapping[str, Any],
    own: Mapping[str, Definition],
    folders: Sequence[Folder],
    assignment: PolicyAssignment | None = None,
) -> list[SetMember]:
    """The members with their definitions and values. Raises ConditionError for values that the initiative refuses."""
    given = set_values(initiative, values)
    references = members_of(initiative)
    found = find_definitions({each.key for each in references} - own.keys(), folders) | dict(own)
    return [_member(each, found.get(each.key), given, folders, assignment) for each in references]


def _member(
    named: MemberReference,
    definition: Definition | ConditionError | None,
    given: Mapping[str, Any],
    folders: Sequence[Folder],
    assignment: PolicyAssignment | None,
) -> SetMember:
    if not isinstance(definition, Definition):
        if definition is not None:
            return SetMember(named.reference, named.definition_id, None, {}, f"cannot be imported: {definition}")
        where = " or ".join(dict.fromkeys(str(folder.path) for folder in folders))
        problem = f"definition {named.definition_id} is not in {where}"
        target = folders[0].path / f"{named.key}.json"
        fix = f"az policy definition show --name {named.key} > {target}"
        return SetMember(named.reference, named.definition_id, None, {}, problem, fix)
    try:
        values = passed_values(named, given)
        if assignment is not None:
            values |= _effect_of(named, definition, assignment)
    except ConditionError as error:
        return SetMember(named.reference, named.definition_id, None, {}, f"cannot be imported: {error}")
    note = (
        ""
        if named.takes(definition.version)
        else f"the initiative takes version {named.version} of its definition, and this is {definition.version}"
    )
    return SetMember(named.reference, named.definition_id, definition, values, names=names_in(named), note=note)


def _effect_of(named: MemberReference, definition: Definition, assignment: PolicyAssignment) -> dict[str, Any]:
    """The effect that an override of the assignment gives the member instead of its own."""
    name = next((each for each in definition.parameters if each.lower() == "effect"), "")
    effect = assignment.effects.get(named.reference.lower(), assignment.effects.get("", ""))
    return {name: effect} if name and effect else {}


def find_definitions(wanted: set[str], folders: Sequence[Folder]) -> dict[str, Definition | ConditionError]:
    """The definitions of these names, in lower case. Files that have such a name are read first; of the others those
    that mention one of the names still wanted, those in the fewest folders first: in a clone of the built-in ones a
    folder inside has the definitions of another cloud, under the same names."""
    found: dict[str, Definition | ConditionError] = {}
    for folder in folders:
        if not folder.path.is_dir():
            continue
        paths = sorted(folder.path.rglob("*.json") if folder.deep else folder.path.glob("*.json"))
        for path in sorted(paths, key=lambda path: (path.stem.lower() not in wanted, len(path.parts))):
            missing = wanted - found.keys()
            if not missing:
                return found
            if path.stem.lower() in missing or _mentions(path, missing):
                for key, definition in _definitions(path):
                    if key in missing:
                        found.setdefault(key, definition)
    return found


def _mentions(path: Path, names: set[str]) -> bool:
    try:
        text = read_text(str(path), errors="replace").lower()
    except BadInput:
        return False
    return any(name in text for name in names)


def _definitions(path: Path) -> Iterator[tuple[str, Definition | ConditionError]]:
    try:
        _, kept = load_kept(str(path), quiet=True)
    except BadInput:
        return  # the folder may hold other files
    for each in kept:
        if each.is_initiative:
            continue
        try:
            definition: Definition | ConditionError = read_kept(each)
        except ConditionError as error:
            definition = error
        for key in keys_of(each, path):
            yield key, definition


def keys_of(kept: Kept, path: Path | None = None) -> set[str]:
    """The names by which members may refer to a definition, in lower case."""
    names = {str(kept.whole.get(key, "")).rpartition("/")[2].lower() for key in ("name", "id")} - {""}
    return names or ({path.stem.lower()} if path else set())
