"""`onboard resume`: end a pause, and make the VMs due that waited for it.

Without arguments it ends the pause of everything; the pause of a subscription or of a policy is named as it was begun.
Exit codes: 0 it is ended, 1 there was no such pause, 2 bad input or settings.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping

from onboarding.app import Configuration, open_pauses, open_ports, read_configuration
from onboarding.application.sweep.sweep_queue import Budget
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands, counted
from onboarding.cli.operations.pause import add_scope, lines_of, read_scope
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.domain.errors import StorageError


def add(commands: Commands) -> None:
    parser = add_command(commands, "resume")
    add_scope(parser)
    parser.add_argument("--all", action="store_true", help="end all pauses")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    scope = read_scope(args)
    if args.all and any(scope):
        raise BadInput("--all", "--all is given with the scope of one pause", "remove --all, or the scope")
    environment = environment_of(args)
    configuration = read_configuration(environment)
    try:
        return asyncio.run(_resume(None if args.all else scope, environment, configuration))
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None


async def _resume(scope: tuple[str, str] | None, environment: Mapping[str, str], configuration: Configuration) -> int:
    async with open_pauses(environment) as opened:
        ended = await opened.requests.end(scope)
        if ended:
            print("\n".join(f"ended: {line}" for line in lines_of(ended)))
        others = await opened.requests.active()
        if others:
            print("\n".join(f"still there: {line}" for line in lines_of(others)))
        if not ended:
            print("nothing is paused" if not others else "that is not paused; nothing was changed")
            return 1
        async with open_ports(configuration) as ports:
            per_minute = Budget.of(configuration.settings).per_minute
            requested = await opened.requests.make_due(ended, ports.ledger, ports.schedule_queue, per_minute=per_minute)
    print(_summary(requested, per_minute))
    return 0


def _summary(requested: int, per_minute: int) -> str:
    if not requested:
        return "no VM waits for that any more"
    return f"{counted(requested, 'VM')} will be reconciled now, {per_minute} a minute in each subscription"
