"""`onboard retry`: open rows again that were final, for the reason that a person gives: the trouble was fixed.

Of VMs that are named, or of those whose rows are selected; of the whole table with --all alone. Exit codes as of
`install`, and 0 for nothing to do.
"""

from __future__ import annotations

import argparse
import sys

from onboarding.application.operator_requests import OperatorRequests
from onboarding.cli.environment import environment_of
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.machines.asking import outcome_named
from onboarding.cli.machines.install import add_asking, ask, run_with
from onboarding.cli.vm_arguments import add_vms, read_vms
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.resource_id import VmId


def add(commands: Commands) -> None:
    parser = commands.add_parser("retry", help="take rows up again that were final, after something was fixed")
    add_vms(parser, several=True)
    parser.add_argument(
        "--outcome", nargs="+", action="extend", type=outcome_named, metavar="NAME", help="which rows (default: Failed)"
    )
    parser.add_argument("--all", action="store_true", help="of the whole table, where nothing else selects")
    add_asking(parser)
    parser.set_defaults(run=run)


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
            print(f"the table has {_counted(len(chosen))} to take up", file=sys.stderr)
        return await ask(args, requests, chosen)

    return run_with(args, environment, work)


def _check_selection(args: argparse.Namespace, vms: tuple[VmId, ...]) -> None:
    """A person who names nothing may not know that the whole table is meant."""
    narrowed = bool(args.subscription or args.resource_group or args.outcome or args.policy)
    if not (vms or narrowed or args.all):
        fix = (
            "name VMs, or select rows with -g, --subscription, --outcome or --policy, or give --all for all that failed"
        )
        raise BadInput("", "nothing is selected", fix)
    if args.all and (vms or args.subscription or args.resource_group):
        fix = "remove --all, or the VMs, -g and --subscription"
        raise BadInput("--all", "--all means the whole table, and a part of it is named", fix)


def _counted(count: int) -> str:
    return "1 VM" if count == 1 else f"{count} VMs"


def selection(args: argparse.Namespace) -> Selection:
    return Selection(
        subscription=args.subscription,
        resource_group=args.resource_group,
        outcomes=tuple(args.outcome or (Outcome.FAILED,)),
    )
