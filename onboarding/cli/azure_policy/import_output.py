"""Writes what an import made: policy files, entries for extensions that the catalogue lacks, and the report on every
member."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from copy import replace
from pathlib import Path
from typing import Any, Final

import yaml

from onboarding.cli.io import BadInput, as_json, counted, read_text, write_text
from onboarding.cli.output import cell
from onboarding.domain.catalog.setting_templates import app_settings_in
from onboarding.domain.json_access import printable
from onboarding.domain.policy.definitions.initiative_import import ImportedSet, MemberResult
from onboarding.loading.policy_folder import EXTENSIONS
from onboarding.loading.safe_reader import Unreadable, parse_yaml

_WIDTH: Final = 120
_COLUMNS: Final = ("member", "becomes", "effect", "definition", "reason", "fix", "notes")


def as_yaml(content: Mapping[str, Any], head: Iterable[str] = ()) -> str:
    """The content of a file, with comments at its top."""
    comments = "".join(f"# {printable(line)}\n" for line in head)
    body = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
    if not body.replace("\n", "").isprintable():
        body = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, width=_WIDTH)  # escapes what is not ASCII
    return comments + body


class _Dumper(yaml.SafeDumper):
    """Without anchors: parts of a rule that occur twice are written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def settings_wanted(policy: Mapping[str, Any]) -> list[str]:
    """The app settings that the policy names, which have to be given."""
    return app_settings_in([policy.get(key) for key in _WITH_SETTINGS])


_WITH_SETTINGS = ("identity", "dataCollectionRules", "dataCollectionEndpoint", "settings", "protectedSettings")


def make_folder(out: str) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder cannot be made: {error.strerror}"
        raise BadInput(str(folder), problem, "name a folder, which several policies need") from error
    return folder


def write_entry(folder: Path, entry: Mapping[str, Any], source: str) -> Path | None:
    """Write an entry's file, unless there is one already: somebody may have completed it. None if there was."""
    path = folder / EXTENSIONS / f"{entry['name']}.yaml"
    if path.exists():
        return None
    make_folder(str(path.parent))
    head = (
        f"Made from {source}: what a request for the extension has there. Add what you know of it",
        "(a support table, logs, errors); the comments of a shipped entry explain the keys.",
    )
    write_text(path, as_yaml(entry, head))
    return path


def free_name(folder: Path, policy: Mapping[str, Any], taken: set[str]) -> str:
    """The policy's name, with a number where a file of another origin has it: a second import of the same initiative
    replaces its own files alone."""
    name = own = str(policy["name"])
    number = 1
    while name in taken or not _may_replace(folder / f"{name}.yaml", policy):
        number += 1
        name = f"{own[: 64 - len(str(number)) - 1]}-{number}"
    taken.add(name)
    return name


def _may_replace(path: Path, policy: Mapping[str, Any]) -> bool:
    if not path.exists():
        return True
    try:
        there = parse_yaml(read_text(str(path)))
    except (BadInput, Unreadable):
        return False
    source = there.get("source") if isinstance(there, dict) else None
    own = policy.get("source", {})
    return isinstance(source, dict) and all(source.get(key) == own.get(key) for key in ("initiative", "member", "id"))


def report(form: str, result: ImportedSet, head: str, written: Sequence[Path]) -> str:
    """The report on every member, as table, JSON or CSV."""
    settings = list(dict.fromkeys(name for policy in result.policies for name in settings_wanted(policy)))
    if form == "json":
        document = {
            "initiative": head,
            "members": [member.as_dict() for member in result.members],
            "policies": [str(policy["name"]) for policy in result.policies],
            "extensions": [str(entry["name"]) for entry in result.entries],
            "settings": settings,
            "files": [str(path) for path in written],
        }
        return as_json(document, indent=2)
    if form == "csv":
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(_COLUMNS)
        for member in result.members:
            rows.writerow([cell(value) for value in _row(member)])
        return text.getvalue().rstrip("\n")
    return "\n".join(_table(result, head, settings))


def _row(member: MemberResult) -> tuple[str, ...]:
    becomes = "; ".join(f"{each.policy}: {each.step}" for each in member.becomes)
    notes = "; ".join(member.notes)
    return member.reference, becomes, member.effect, member.definition_id, member.reason, member.fix, notes


def _table(result: ImportedSet, head: str, settings: list[str]) -> Iterable[str]:
    taken = [member for member in result.members if not member.reason]
    left = [member for member in result.members if member.reason]
    policies = f"{len(result.policies)} {'policy' if len(result.policies) == 1 else 'policies'}"
    yield f"{printable(head)}: {counted(len(result.members), 'member')}, {len(taken)} taken over in {policies}"
    for member in taken:
        yield f"  {printable(member.reference)}"
        for each in member.becomes:
            yield f"      {each.step} of policy {each.policy}"
        yield from (f"      {printable(note)}" for note in member.notes)
    if left:
        yield "not taken over:"
    for member in left:
        yield f"  {printable(member.reference)}: {printable(member.reason)}"
        if member.fix:
            yield f"      {printable(member.fix)}"
    if result.entries:
        yield "entries made for extensions that the catalogue lacks (extensions/): " + ", ".join(
            str(entry["name"]) for entry in result.entries
        )
    if settings:
        yield "app settings to give: " + ", ".join(settings)
    if result.policies:
        yield "scope: every policy applies everywhere; write your subscriptions into `scope:`"


def renamed(result: ImportedSet, names: Mapping[str, str]) -> ImportedSet:
    """The result with other names for some policies."""
    members = tuple(
        replace(
            member,
            becomes=tuple(replace(each, policy=names.get(each.policy, each.policy)) for each in member.becomes),
        )
        for member in result.members
    )
    policies = tuple({**policy, "name": names.get(str(policy["name"]), policy["name"])} for policy in result.policies)
    return replace(result, policies=policies, members=members)
