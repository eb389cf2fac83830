"""`onboard policy compare`: show where Azure Policy decides otherwise than our policies, over a fleet, and why.

Azure's side are the members of an initiative, or one definition; ours are the policies of a folder. The VMs are read as
for `onboard policy plan`. Exit codes: 0 no difference; 1 differences, or something that could not be compared; 2 bad
input, or a login that ARM refuses.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from onboarding.application.azure_policy_comparison import (
    ComparedDecision,
    ComparedMember,
    compare_machine,
    ready_member,
)
from onboarding.cli.azure_policy.import_definition import add_values, given_values, read_assignment_file
from onboarding.cli.azure_policy.initiative_input import definition_folders, keys_of, read_members
from onboarding.cli.command_list import add_action
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import Commands, as_json, counted
from onboarding.cli.output import Form, add_output, write_records
from onboarding.cli.policy.container_files import add_container_files
from onboarding.cli.policy.definition_input import load_kept
from onboarding.cli.policy.plan import add_fleet, name_of, read_fleet
from onboarding.cli.policy.policy_input import Source, load_rules, policy_folder
from onboarding.domain.json_access import printable
from onboarding.domain.policy.conditions import ConditionError
from onboarding.domain.policy.definitions.definition import read_kept
from onboarding.domain.policy.definitions.definition_forms import Kept
from onboarding.domain.policy.definitions.initiative import PolicyAssignment, check_known
from onboarding.domain.policy.definitions.initiative_import import SetMember

_COLUMNS = ("vm", "subject", "differs", "azure", "ours", "member", "policy", "why")


def add(actions: Commands) -> None:
    parser = add_action(actions, "compare")
    parser.add_argument("file", metavar="FILE", help="the initiative or definition, in Azure's own form")
    add_values(parser)
    add_fleet(parser)
    parser.add_argument("--policies", metavar="FOLDER", help="our policy files (default: those of the app)")
    parser.add_argument("--all", action="store_true", help="also show decisions that are the same")
    add_output(parser)
    add_container_files(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    assignment = read_assignment_file(args.assignment)
    values = given_values(args, assignment)
    source, kept = load_kept(args.file, values)
    members, problems = _ready(_members(args, source, kept, values, assignment))
    rules, wrong = load_rules(args.policies or policy_folder(environment), environment)
    machines, rules, _ = read_fleet(args, environment, rules, None)
    problems += [*wrong, *(f"{name_of(each.facts)}: {each.unread}" for each in machines if each.unread)]
    for problem in problems:
        print(printable(f"onboard policy compare: {problem}"), file=sys.stderr)
    now = datetime.now(UTC)
    decisions = [
        decision
        for each in machines
        if not each.unread
        for decision in compare_machine(name_of(each.facts), members, rules, each.facts, now, each.definition)
    ]
    _print(args.output, len(machines), decisions, show_all=args.all)
    return 1 if problems or any(decision.differs for decision in decisions) else 0


def _members(
    args: argparse.Namespace,
    source: Source,
    kept: tuple[Kept, ...],
    values: Mapping[str, Any],
    assignment: PolicyAssignment | None,
) -> Iterator[SetMember]:
    """The members of the initiatives in the file; of a file without one, its definitions."""
    initiatives = tuple(each for each in kept if each.is_initiative)
    alone = [each for each in kept if not each.is_initiative]
    try:
        if not initiatives:
            for each in alone:
                definition = read_kept(each)
                known = {name.lower() for name in definition.parameters}
                given = {name: value for name, value in values.items() if name.lower() in known or len(alone) == 1}
                yield SetMember(definition.name or definition.display_name or "definition", "", definition, given)
            return
        check_known(initiatives, values)
        own = {key: read_kept(each) for each in alone for key in keys_of(each)}
        for each in initiatives:
            yield from read_members(each, values, own, definition_folders(args.file, args.definitions), assignment)
    except ConditionError as error:
        raise source.error(error.place, error.problem, error.fix) from error


def _ready(members: Iterator[SetMember]) -> tuple[list[ComparedMember], list[str]]:
    ready, problems = [], []
    for member in members:
        if member.definition is None:
            problems.append(f"{member.reference}: {member.problem}" + (f"; {member.fix}" if member.fix else ""))
            continue
        try:
            ready.append(ready_member(member))
        except ConditionError as error:
            problems.append(f"{member.reference}: {error}")
    return ready, problems


def _print(form: Form, machines: int, decisions: list[ComparedDecision], *, show_all: bool) -> None:
    shown = [each for each in decisions if show_all or each.differs]
    if form is Form.CSV:
        write_records(form, _COLUMNS, (each.as_row() for each in shown))
    elif form is Form.JSONL:
        write_records(form, (), (each.as_dict() for each in shown))
    elif form is Form.JSON:
        counts = [{"azure": a, "ours": o, "decisions": n} for (a, o), n in sorted(_counts(decisions).items())]
        differing = sum(each.differs for each in decisions)
        summary = {"machines": machines, "differing": differing, "counts": counts}
        print(as_json({**summary, "decisions": [each.as_dict() for each in shown]}))
    else:
        for each in shown:
            print(printable(f"{each.vm}  {each.subject}: Azure {each.azure.word}, ours {each.ours.word}"))
            if each.why:
                print(printable(f"    {each.why}"))
        different = sum(each.differs for each in decisions)
        print(f"{counted(machines, 'VM')}, {counted(len(decisions), 'decision')}, {counted(different, 'difference')}")
        for (azure, ours), number in sorted(_counts(decisions).items(), key=lambda item: -item[1]):
            print(f"  {number:6} Azure {azure}, ours {ours}")


def _counts(decisions: list[ComparedDecision]) -> Counter[tuple[str, str]]:
    return Counter((each.azure.word.value, each.ours.word.value) for each in decisions)
