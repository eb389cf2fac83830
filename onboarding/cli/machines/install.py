"""`onboard install`: the automatic line for chosen VMs: the same decision, the same claim, the same row.

What policy or operating system forbids is refused, and the row says why; --force only vouches for a system that nothing
tells. Exit codes: 0 all are onboarded, 1 some will not be, 2 bad input, settings or login, and nothing was done, 3 some
are still on their way.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from onboarding.app import Configuration, assemble, open_ports, read_configuration
from onboarding.application.operator_requests import NoAccess, OperatorRequests, Preview
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, CommandFailed, Commands
from onboarding.cli.machines.asking import UNDER_WAY, Answer, Asking, Patience, exit_code, explain
from onboarding.cli.operations.preflight import access_problem, check_configuration, check_policy, in_words
from onboarding.cli.vm_arguments import add_vms, read_vms
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.json_access import printable
from onboarding.domain.masking import mask
from onboarding.domain.reconcile.decision import Act, OperatorRequest, Satisfied, Stop
from onboarding.domain.reconcile.row import Row
from onboarding.domain.resource_id import VmId
from onboarding.export.extension_template import az_extension_set

if TYPE_CHECKING:
    from rich.text import Text

type Work = Callable[[OperatorRequests], Awaitable[int]]


def add(commands: Commands) -> None:
    parser = commands.add_parser("install", help="onboard chosen VMs now, as the line would")
    add_vms(parser, several=True)
    add_asking(parser)
    parser.add_argument("--show-az", action="store_true", help="print the equal az command, its secrets left out")
    parser.set_defaults(run=run)


def add_asking(parser: argparse.ArgumentParser) -> None:
    """What `install` and `retry` share."""
    parser.add_argument("--policy", metavar="NAME", default="", help="only what this policy decides")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--force", action="store_true", help="vouch for an operating system that nothing tells")
    parser.add_argument("--reconnect", action="store_true", help="move a VM that reports to another workspace")
    parser.add_argument("--no-wait", action="store_true", help="ask and go; the function app sees to the rest")
    parser.add_argument("--timeout", type=float, default=900, metavar="S", help="wait at most (default: %(default)s)")
    parser.add_argument("--interval", type=float, default=10, metavar="S", help="look every (default: %(default)s)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vms = read_vms(args, environment)
    if not vms:
        raise BadInput("", "no VM is named", "give ids, -g GROUP -n NAME, or - for ids on standard input")
    return run_with(args, environment, lambda requests: ask(args, requests, vms))


def run_with(args: argparse.Namespace, environment: Mapping[str, str], work: Work) -> int:
    """Open the line for some work, once settings and storage are as they have to be."""
    configuration = read_configuration(environment)
    check_policy(configuration, args.policy)
    if not args.dry_run:
        check_configuration(configuration, args.policy)
    try:
        return asyncio.run(_opened(configuration, work))
    except StorageError as error:
        raise CommandFailed(in_words(error, environment)) from error
    except NoAccess as refused:
        raise CommandFailed(access_problem(refused, configuration)) from refused


async def _opened(configuration: Configuration, work: Work) -> int:
    async with open_ports(configuration, check=True) as ports:
        return await work(assemble(ports, configuration).requests)


async def ask(args: argparse.Namespace, requests: OperatorRequests, vms: tuple[VmId, ...]) -> int:
    """The whole command, once the line is open. Raises NoAccess before anything is written."""
    await requests.check_access(vms)
    asked = OperatorRequest(args.policy, args.force, args.reconnect)
    if args.dry_run:
        return await _preview(args, requests, vms, asked)
    if getattr(args, "show_az", False):
        await _preview(args, requests, vms, asked, commands_only=True)
    grace_period = Patience(None if args.no_wait else args.timeout, args.interval)
    answers = await Asking(requests, asked, grace_period, _progress).all(vms)
    _print_answers(answers, as_json=args.output == "json")
    return exit_code(answers)


def _progress(row: Row) -> None:
    waiting = f" ({row.waiting_for})" if row.waiting_for else ""
    print(
        f"{datetime.now(UTC):%H:%M:%S} {row.vm_name}: {row.outcome}{waiting}, {printable(row.reason)}", file=sys.stderr
    )


def _print_answers(answers: list[Answer], *, as_json: bool) -> None:
    from onboarding.cli.machines.status_output import writer

    rows = [row for answer in answers for row in answer.rows.values()]
    if rows:
        output = writer(as_json=as_json, history=False)
        for row in rows:
            output.write(row)
        output.end()
    for answer in answers:
        if answer.problem:
            print(f"{answer.vm.name}: {printable(mask(answer.problem))}", file=sys.stderr)
    if UNDER_WAY in {answer.code for answer in answers}:
        print("Not all have ended: the function app goes on, or run this again to go on watching.", file=sys.stderr)


async def _preview(
    args: argparse.Namespace,
    requests: OperatorRequests,
    vms: tuple[VmId, ...],
    asked: OperatorRequest,
    *,
    commands_only: bool = False,
) -> int:
    """What would be done for each VM; 0 if all would be onboarded or are."""
    from onboarding.cli.console import open_console, plain_table, printable

    table = plain_table("VM", "Extension", "Would", "Because")
    fine = True
    for vm in vms:
        try:
            previews = await requests.preview(vm, asked)
        except ArmError as error:
            table.add_row(printable(vm.name), "", "refuse", printable(mask(explain(error))))
            fine = False
            continue
        fine &= bool(previews) and all(_is_fine(preview) for preview in previews)
        for preview in previews:
            table.add_row(printable(vm.name), preview.context.entry.name, *_told(preview))
            if getattr(args, "show_az", False) and (command := _az(vm, preview)):
                print(f"{command}\n")
    if not commands_only:
        open_console().print(table)
    return 0 if fine else 1


def _told(preview: Preview) -> tuple[str, Text]:
    from onboarding.cli.console import printable

    decision = preview.decision
    advice = ""
    if isinstance(decision, Satisfied | Stop) and decision.problem is not None:
        advice = f"\n{decision.problem.advice}"
    match decision:
        case Act():
            would = "install"
        case Satisfied():
            would = "leave"
        case Stop(outcome=outcome):
            would = f"refuse ({outcome})"
        case _:
            would = "wait"
    return would, printable(mask(f"{decision.reason}{advice}"))


def _is_fine(preview: Preview) -> bool:
    decision = preview.decision
    return isinstance(decision, Act) or (isinstance(decision, Satisfied) and decision.problem is None)


def _az(vm: VmId, preview: Preview) -> str:
    decision, context = preview.decision, preview.context
    if not isinstance(decision, Act):
        return ""
    protected = context.assignment.policy.protected_settings
    return az_extension_set(vm, context.entry, decision.name, context.settings, protected)
