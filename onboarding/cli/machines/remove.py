"""`onboard remove`: remove an extension from chosen VMs now, by the same claims and rows as the function app.

--extension names what goes, any entry of the catalogue, whatever the policies say; it stays away until its policy
changes or a person installs it.
--policy carries out a policy with effect removeIfExists, with all that the policy waits for. Exit codes: 0 it is gone
from all, 1 some failed or were refused, 2 bad input, settings or login, and nothing was done, 3 some are not finished
yet.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from onboarding.app import Configuration, read_configuration
from onboarding.application.operator_requests import OperatorRequests
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands, confirmed, counted, is_interactive
from onboarding.cli.machines.install import add_wait_options, carry_out, check_first, preview, run_with
from onboarding.cli.output import add_output
from onboarding.cli.vm_arguments import add_vms, read_some_vms
from onboarding.domain.errors import as_written, known_names
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.resource_id import VmId


def add(commands: Commands) -> None:
    parser = add_command(commands, "remove")
    add_vms(parser, several=True)
    parser.add_argument("--extension", metavar="NAME", default="", help="what is removed, as the catalogue names it")
    parser.add_argument("--policy", metavar="NAME", default="", help="the policy whose removal is carried out")
    parser.add_argument("--dry-run", action="store_true", help="show what would go, and change nothing")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    add_wait_options(parser)
    add_output(parser, note="json is one object on each line, as jsonl")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vms = read_some_vms(args, environment)
    if not (args.extension or args.policy):
        raise BadInput("", "nothing says what is removed", "give --extension NAME, or --policy NAME")
    check_named(args, read_configuration(environment))
    if not (args.dry_run or args.yes or is_interactive()):
        raise BadInput("", "nobody is there to be asked", "give --yes to remove without asking")
    return run_with(args, environment, lambda requests: run_removal(args, requests, vms))


def check_named(args: argparse.Namespace, configuration: Configuration) -> None:
    """Raises BadInput for an extension that the catalogue does not have, and for a policy that removes nothing."""
    policies, catalogue = configuration.rules.policies.policies, configuration.rules.catalogue
    if args.extension and args.extension not in catalogue:
        fix = f"{known_names('extensions', catalogue, args.extension)}; `az vm extension delete` removes others"
        raise BadInput("--extension", f"unknown extension {as_written(args.extension)}", fix)
    named = next((policy for policy in policies if policy.name == args.policy), None)
    if named is not None and not named.removes and not args.extension:
        problem = f"policy {as_written(args.policy)} removes nothing: its effect is {named.effect}"
        raise BadInput("--policy", problem, "name what is removed with --extension")


async def run_removal(args: argparse.Namespace, requests: OperatorRequests, vms: tuple[VmId, ...]) -> int:
    """The command itself, once it is connected. Raises Paused and NoAccess before anything is written."""
    request = OperatorRequest(
        policy=args.policy, extension=args.extension, removal=True, despite_pause=args.despite_pause
    )
    await check_first(args, requests, vms, request)
    if args.dry_run:
        return await preview(args, requests, vms, request)
    if not args.yes:
        await preview(args, requests, vms, request)
        if not await asyncio.to_thread(confirmed, f"Remove from {counted(len(vms), 'VM')}?"):
            print("nothing was removed", file=sys.stderr)
            return 2
    return await carry_out(args, requests, vms, request)
