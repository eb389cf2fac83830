"""`onboard retry`: open rows again that were final, for the reason that a person gives: it was mended.

Without VMs, all rows of the given outcomes are taken up. Exit codes as of `install`, and 0 for nothing to do.
"""

from __future__ import annotations

import argparse

from onboarding.cli.environment import environment_of
from onboarding.cli.install import add_asking, ask, run_with
from onboarding.cli.io import Commands
from onboarding.cli.outcomes import outcome_named
from onboarding.cli.vm_arguments import add_vms, read_vms
from onboarding.core.outcome import Outcome
from onboarding.core.selection import Selection
from onboarding.requests import Requests


def add(commands: Commands) -> None:
    parser = commands.add_parser("retry", help="take rows up again that were final, after something was mended")
    add_vms(parser, several=True)
    parser.add_argument(
        "--outcome", nargs="+", action="extend", type=outcome_named, metavar="NAME", help="which rows (default: Failed)"
    )
    add_asking(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vms = read_vms(args, environment)

    async def work(requests: Requests) -> int:
        chosen = vms or await requests.select(selection(args))
        if not chosen:
            print("nothing to retry")
            return 0
        return await ask(args, requests, chosen)

    return run_with(args, environment, work)


def selection(args: argparse.Namespace) -> Selection:
    return Selection(
        subscription=args.subscription,
        resource_group=args.resource_group,
        outcomes=tuple(args.outcome or (Outcome.FAILED,)),
    )
