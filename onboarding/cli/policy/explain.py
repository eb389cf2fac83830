"""`onboard policy explain`: show what the policies decide for a VM and why: conditions as trees with ticks and crosses,
the deciding policy, exemptions, the operating system and its source, and what would be done.

The VM is a body in a file, or an id; then it is read from Azure with the settings of the app.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from copy import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onboarding.application.readers.container_reader import ContainerReader
from onboarding.application.reports.explanation import definition_trees, explain, trees_as_dict, trees_as_text
from onboarding.application.rules import Rules
from onboarding.cli.command_list import add_action
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.operations.preflight import with_setting
from onboarding.cli.output import FORMERLY_LINES, Form, add_output, write_records
from onboarding.cli.policy.container_files import KnownContainers, add_container_files, read_container_files
from onboarding.cli.policy.definition_input import load_definition
from onboarding.cli.policy.evaluate import bind
from onboarding.cli.policy.policy_input import (
    load_policy,
    load_rules,
    policy_folder,
    read_parameters,
    read_source,
    read_vms,
)
from onboarding.cli.vm_arguments import add_vm_name
from onboarding.cli.vm_arguments import read_vm as read_named_vm
from onboarding.domain.errors import ArmError, StorageError, as_written, known_names
from onboarding.domain.json_access import printable
from onboarding.domain.limits.pause import Pause
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.machine.resource_containers import RIGHTS, id_of
from onboarding.domain.policy.management_groups import resolve
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.policy.rule import resource_of
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.loading.policy_extensions import with_extensions
from onboarding.settings import read_settings


def add(actions: Commands) -> None:
    parser = add_action(actions, "explain")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--definition", metavar="FILE", help="explain an Azure Policy definition")
    what.add_argument("--policy", metavar="NAME|FILE", help="explain one policy (default: all)")
    parser.add_argument("--policies", metavar="FOLDER", help="the policy folder (default: that of the app)")
    parser.add_argument(
        "--vm",
        metavar="FILE|ID",
        help="VM bodies (one, an array, JSON Lines; - is stdin), or the id of a VM",
    )
    add_vm_name(parser)
    parser.add_argument("--parameters", metavar="JSON", help="values of the definition's parameters, or @FILE")
    add_container_files(parser)
    add_output(parser, (Form.TABLE, Form.JSON, Form.JSONL), formerly=FORMERLY_LINES)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vm = _vm(args, environment)
    now = datetime.now(UTC)
    around = read_container_files(args.around)
    if args.definition:
        values = read_parameters(args.parameters)
        bound = bind(*load_definition(args.definition, values), values)
        resources = (resource_of(around.facts(read_facts(body)), now) for body in _bodies(vm, environment))
        explained = ((resource, dict(definition_trees(bound, resource))) for resource in resources)
        if args.output is not Form.TABLE:
            write_records(args.output, (), (trees_as_dict(*each) for each in explained))
            return 0
        for each in explained:
            print(trees_as_text(*each))
        return 0
    rules, problems = _rules(args, environment)
    explanations = (explain(rules, facts, now) for facts in _facts(vm, around, environment, rules, now))
    pauses = _pauses(vm, environment)
    if args.output is not Form.TABLE:
        head: dict[str, Any] = {"problems": list(problems)} if problems else {}
        head |= {"paused": list(map(str, pauses))} if pauses else {}
        write_records(args.output, (), ({**head, **each.as_dict()} for each in explanations))
        return 0
    for explanation in explanations:
        lines = [*(f"not usable: {problem}" for problem in problems), *map(str, pauses)]
        print("\n".join([*map(printable, lines), explanation.as_text()]))
    return 0


def _pauses(vm: str, environment: Mapping[str, str]) -> Sequence[Pause]:
    """What a person has paused for a VM of Azure; none for a VM of a file, or if the settings name no storage."""
    settings = read_settings(environment)
    if (target := _id(vm)) is None or not settings.storage.named:
        return ()

    async def read() -> Sequence[Pause]:
        from onboarding.app import open_pauses

        async with open_pauses(environment) as opened:
            pauses = await opened.requests.active()
        return [pause for pause in pauses if pause.subscription in ("", target.subscription.lower())]

    try:
        return asyncio.run(read())
    except StorageError as error:
        problem = f"whether it is paused could not be read: {with_setting(error, environment)}"
        print(printable(f"onboard policy explain: {problem}"), file=sys.stderr)
        return ()


def _vm(args: argparse.Namespace, environment: Mapping[str, str]) -> str:
    """The file or the id of --vm, or the id of the VM that -n names."""
    if bool(args.vm) == bool(args.name):
        problem = "--vm and -n are both given" if args.vm else "no VM is named"
        raise BadInput("", problem, "give one: --vm FILE, --vm ID, or -n NAME with -g GROUP")
    return args.vm or str(read_named_vm(args, environment))


def _rules(args: argparse.Namespace, environment: Mapping[str, str]) -> tuple[Rules, tuple[str, ...]]:
    """The policies of the folder, or the one that --policy names."""
    folder = args.policies or policy_folder(environment)
    if args.policy and os.path.isfile(args.policy):
        policy = load_policy(args.policy)
        rules, _ = load_rules(str(Path(args.policy).parent), environment)
        source = read_source(args.policy)
        with source.problems_named():
            policy = with_extensions(policy, source.name, rules.catalogue, rules.unusable)
        return replace(rules, policies=PolicySet((policy,))), ()
    rules, problems = load_rules(folder, environment)
    if not args.policy:
        return rules, problems
    named = tuple(policy for policy in rules.policies.policies if policy.name == args.policy)
    if not named:
        fix = known_names("policies", (each.name for each in rules.policies.policies), args.policy)
        raise BadInput("--policy", f"{as_written(args.policy)} is neither a file nor a policy of {folder}", fix)
    return replace(rules, policies=PolicySet(named)), ()


def _facts(
    vm: str, around: KnownContainers, environment: Mapping[str, str], rules: Rules, now: datetime
) -> Iterable[MachineFacts]:
    """The VMs of a file; or one of Azure, with the groups and subscriptions that the policies need."""
    if (target := _id(vm)) is None:
        return [around.facts(read_facts(body)) for body in read_vms(vm, only_vms=True)]

    async def read() -> MachineFacts:
        # Imported here because the SDK takes long to load, and reading a file does not need it.
        from onboarding.app import open_arm

        async with open_arm(environment) as arm:
            facts = around.facts(read_facts((await arm.read_machine(target)).body))
            completed = await ContainerReader(arm).complete(facts, resolve(rules.policies, {}), now)
            for what, error in completed.failures.items():
                scope = id_of(what, facts.id)
                problem = f"{scope}: cannot be read ({error}); this needs the right {RIGHTS[what]}"
                print(printable(f"onboard policy explain: {problem}"), file=sys.stderr)
            return completed.facts

    return [_read_from_azure(vm, read())]


def _bodies(vm: str, environment: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    if (target := _id(vm)) is None:
        return read_vms(vm)

    async def read() -> Mapping[str, Any]:
        from onboarding.app import open_arm

        async with open_arm(environment) as arm:
            return (await arm.read_machine(target)).body

    return [_read_from_azure(vm, read())]


def _id(vm: str) -> VmId | None:
    """The VM of an id; None for a file name."""
    if not vm.lower().startswith("/subscriptions/"):
        return None
    target = parse_id(vm)
    if not isinstance(target, VmId):
        fix = "give …/providers/Microsoft.Compute/virtualMachines/NAME, or a file"
        raise BadInput("--vm", f"{as_written(vm, 300)} is not the id of a VM", fix)
    return target


def _read_from_azure[T](vm: str, reading: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(reading)
    except ArmError as error:
        problem = f"{as_written(vm, 300)} cannot be read: {error}: {error.evidence.text[:300]}"
        raise BadInput("--vm", problem, "explain it with `onboard diagnose`, or give a file") from error
