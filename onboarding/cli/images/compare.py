"""`onboard compare`: compare our identification of images with an Azure Policy definition, over labelled images.

The result is a section of a documentation page. Exit codes: 0 done, 1 with --check if the page is out of date, 2 bad
input.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onboarding.cli.command_list import add_command
from onboarding.cli.extension_choice import add_extension, chosen_entries
from onboarding.cli.images.check_input import read_list_items
from onboarding.cli.io import MAX_LIST, BadInput, Commands, line_of, read_page, read_text, shown, write_text
from onboarding.cli.policy.definition_input import load_definition
from onboarding.cli.policy.evaluate import bind
from onboarding.cli.policy.policy_input import read_parameters
from onboarding.domain.image.identification_comparison import LabelledImage, by_name, by_rule, compare, read_label
from onboarding.domain.policy.conditions import Context, Resource
from onboarding.export.documentation_page import fill_page
from onboarding.loading.package_data import reference_data


def add(commands: Commands) -> None:
    parser = add_command(commands, "compare")
    parser.add_argument("labels", metavar="LABELS", help="images with distro and os_version, as JSON Lines or an array")
    parser.add_argument("--definition", metavar="FILE", required=True, help="the definition, in Azure's own form")
    parser.add_argument("--parameters", metavar="JSON", help="values of its parameters, or @FILE")
    add_extension(parser)
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write into the part `comparison` of this page (default: print)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is out of date")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    labels = _labels(args.labels)
    values = read_parameters(args.parameters)
    bound = bind(*load_definition(args.definition, values), values)
    reference = reference_data()
    rule = by_rule(_matcher(lambda resource: bound.condition.evaluate(resource).matched), reference)
    named = f"`{Path(args.definition).name}`"
    sections = [
        compare(labels, table, {"`onboard check`": by_name(table, reference), named: rule}, reference)
        for entry in chosen_entries(args.extension)
        for table in entry.support_tables.values()
    ]
    if args.page is None:
        print("\n".join(sections), end="")
        return 0
    return _update_page(args.page, "\n".join(sections), write=not args.check)


def _matcher(matches: Callable[[Resource], bool]) -> Callable[[Mapping[str, Any]], bool]:
    context = Context(now=datetime.now(UTC))
    return lambda body: matches(Resource(body, context))


def _labels(path: str) -> list[LabelledImage]:
    labels: list[LabelledImage] = []
    for item in read_list_items(io.StringIO(read_text(path, MAX_LIST)), shown(path)):
        label = read_label(item.value) if isinstance(item.value, Mapping) else None
        if label is None:
            problem = f"{json.dumps(item.value)[:60]} has no publisher and distro"
            raise BadInput(line_of(path, item.line), problem, "add both keys")
        labels.append(label)
    return labels


def _update_page(page: Path, text: str, *, write: bool) -> int:
    before = read_page(page)
    after = fill_page(before, {"comparison": text})
    if write and after != before:
        write_text(page, after)
    return 0 if write or after == before else 1
