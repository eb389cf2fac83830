"""`onboard policy evaluate`: evaluate an Azure Policy definition for VMs, one answer for each VM, in their order."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from onboarding.cli.command_list import add_action
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.output import FORMERLY_LINES, Form, add_output, write_records
from onboarding.cli.policy.container_files import add_container_files, read_container_files
from onboarding.cli.policy.definition_input import load_definition
from onboarding.cli.policy.policy_input import Source, read_parameters, read_vms
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.policy.conditions import ConditionError, Resource
from onboarding.domain.policy.definitions.compliance import Answer, BoundDefinition
from onboarding.domain.policy.definitions.definition import Definition
from onboarding.domain.policy.rule import resource_of


def add(actions: Commands) -> None:
    parser = add_action(actions, "evaluate")
    parser.add_argument("--definition", metavar="FILE", required=True, help="the definition, in Azure's own form")
    parser.add_argument(
        "--vm", metavar="FILE", required=True, help="VM bodies: one, an array or JSON Lines; - is stdin"
    )
    parser.add_argument("--parameters", metavar="JSON", help="values of its parameters, or @FILE")
    add_container_files(parser)
    add_output(parser, formerly=FORMERLY_LINES)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    values = read_parameters(args.parameters)
    bound = bind(*load_definition(args.definition, values), values)
    around, now = read_container_files(args.around), datetime.now(UTC)
    resources = (resource_of(around.facts(read_facts(body)), now) for body in read_vms(args.vm))
    answers = ((resource, bound.evaluate(resource)) for resource in resources)
    if args.output is Form.CSV:
        named = ({"name": resource.name, **answer.as_dict()} for resource, answer in answers)
        write_records(args.output, ("name", "applies", "effect", "compliant", "because"), named)
    elif args.output is not Form.TABLE:
        write_records(args.output, (), (answer.as_dict() for _, answer in answers))
    else:
        for resource, answer in answers:
            print(_text(resource, answer))
    return 0


def bind(source: Source, definition: Definition, values: Mapping[str, Any]) -> BoundDefinition:
    try:
        return definition.bind(values)
    except ConditionError as error:
        if error.place.startswith("parameters"):
            raise BadInput("--parameters", error.problem, error.fix) from error
        raise source.error(error.place, error.problem, error.fix) from error


def _text(resource: Resource, answer: Answer) -> str:
    compliant = {True: "compliant", False: "not compliant", None: "no compliance"}[answer.compliant]
    applies = {True: "applies", False: "does not apply", None: "unknown whether it applies"}[answer.applies]
    verdict = f"{applies} ({answer.effect})" + (f", {compliant}" if answer.applies else "")
    lines = [f"{resource.name or '(no name)'}: {verdict}", *(f"  {line}" for line in answer.because)]
    return "\n".join(map(printable, lines))
