"""`onboard retry`: try VMs again whose rows are final, after a person fixed the problem.

The VMs are named, or selected by their rows; only --all selects the whole table. Exit codes are those of `install`, and
0 where there is nothing to retry.
"""

from __future__ import annotations

import argparse
import sys

from onboarding.application.operator_requests import OperatorRequests
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import environment_of
from onboarding.cli.io import BadInput, Commands, counted
from onboarding.cli.machines.install import add_request_options, run_requests, run_with
from onboarding.cli.machines.request_runner import parse_outcome
from onboarding.cli.vm_arguments import add_vms, read_vms
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.resource_id import VmId


def add(commands: Commands) -> None:
    parser = add_command(commands, "retry")
    add_vms(parser, several=True)
    parser.add_argument(
        "--outcome",
        nargs="+",
        action="extend",
        type=parse_outcome,
        metavar="NAME",
        help="VMs with this outcome (default: Failed)",
    )
    parser.add_argument("--all", action="store_true", help="all such VMs of the table")
    add_request_options(parser)
    parser.set_defaults(run=run, removal=None)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vms = read_vms(args, environment)
    _check_selection(args, vms)

    async def work(requests: OperatorRequests) -> int:
        chosen = vms or await requests.select(selection(args), args.policy)
        if not chosen:
            print("nothing to retry")
            return 0
        if not vms:
            print(f"{counted(len(chosen), 'VM')} to retry", file=sys.stderr)
        return await run_requests(args, requests, chosen)

    return run_with(args, environment, work)


def _check_selection(args: argparse.Namespace, vms: tuple[VmId, ...]) -> None:
    """The whole table needs --all: a person who selects nothing may not expect it."""
    narrowed = bool(args.subscription or args.resource_group or args.outcome or args.policy)
    if not (vms or narrowed or args.all):
        fix = (
            "name VMs, or select rows with -g, --subscription, --outcome or --policy, or give --all for all that failed"
        )
        raise BadInput("", "nothing is selected", fix)
    if args.all and (vms or args.subscription or args.resource_group):
        fix = "remove --all, or the VMs, -g and --subscription"
        raise BadInput("--all", "--all means the whole table, and a part of it is named", fix)


def selection(args: argparse.Namespace) -> Selection:
    return Selection(
        subscription=args.subscription,
        resource_group=args.resource_group,
        outcomes=tuple(args.outcome or (Outcome.FAILED,)),
    )
