"""`onboard policy explain`: the rule of a policy or definition as a tree, with a tick or a cross at every condition."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime

from onboarding.cli.io import BadInput, Commands
from onboarding.cli.policy_evaluate import bind
from onboarding.cli.policy_input import load_definition, read_parameters, read_source, read_vms
from onboarding.core.compliance import BoundDefinition
from onboarding.core.conditions import (
    Condition,
    ConditionError,
    Context,
    Explanation,
    Resource,
    Undecided,
    compile_condition,
    render,
)


def add(actions: Commands) -> None:
    parser = actions.add_parser("explain", help="show which condition decided, as a tree")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--definition", metavar="FILE", help="an Azure Policy definition")
    what.add_argument("--policy", metavar="FILE", help="one of our policy files")
    parser.add_argument(
        "--vm", metavar="FILE", required=True, help="VM bodies: one, an array or JSON Lines; - is stdin"
    )
    parser.add_argument("--parameters", metavar="JSON", help="parameter values, or @file with them")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    bound = None if args.policy else bind(*load_definition(args.definition), read_parameters(args.parameters))
    rule = bound.condition if bound else _rule(args.policy)
    context = Context(now=datetime.now(UTC))
    for body in read_vms(args.vm):
        resource = Resource(body, context)
        trees = {"if": rule.evaluate(resource).tree} if rule else {}
        if bound:
            trees |= dict(_existence(bound, resource))
        print(_json(resource, trees) if args.format == "json" else _text(resource, trees))
    return 0


def _rule(path: str) -> Condition | None:
    source = read_source(path)
    if not isinstance(source.data, dict):
        raise BadInput(f"{path}: is no policy; give a mapping with name, effect, extension and rule")
    if "rule" not in source.data:
        return None
    try:
        return compile_condition(source.data["rule"], source.data.get("parameters") or {}, "rule")
    except ConditionError as error:
        raise source.error(error.place, error.message) from None


def _existence(bound: BoundDefinition, resource: Resource) -> Iterator[tuple[str, Explanation]]:
    """The existence condition for every related resource that the body shows."""
    if bound.existence is None or bound.existence.condition is None:
        return
    try:
        candidates, _ = bound.existence.candidates(resource)
    except Undecided:
        return
    for candidate in candidates:
        yield f"existenceCondition for '{candidate.name}'", bound.existence.condition.evaluate(candidate, resource).tree


def _json(resource: Resource, trees: dict[str, Explanation]) -> str:
    answer = {"name": resource.name, "id": resource.id, **{name: tree.as_dict() for name, tree in trees.items()}}
    return json.dumps(answer, ensure_ascii=False)


def _text(resource: Resource, trees: dict[str, Explanation]) -> str:
    blocks = [f"{name}\n{render(tree)}" for name, tree in trees.items()] or ["no rule: every VM in scope matches"]
    return "\n".join([resource.name or "(no name)", *blocks])
