"""`onboard migration`: how far machines have come from one agent to another, and why they are not further.

It reads the table alone, so it knows of a machine what the policies' rows say. Exit codes: 0 machines were found,
1 none has a row of the two agents, 2 bad settings or arguments, or the table cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence

from onboarding.app import read_configuration
from onboarding.application.migration import Migration, Progress, State, machine_progress, migrations
from onboarding.application.rules import Rules
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.cli.output import Form, add_output
from onboarding.domain.errors import StorageError, as_written, known_names
from onboarding.domain.reconcile.row import Selection


def add(commands: Commands) -> None:
    parser = add_command(commands, "migration")
    default = "default: what the removal policies with onlyAfter say"
    parser.add_argument("--from", dest="old", metavar="EXTENSION", default="", help=f"the extension to go; {default}")
    parser.add_argument(
        "--to", dest="new", metavar="POLICY", default="", help=f"the policy of the new agent; {default}"
    )
    parser.add_argument("--subscription", metavar="ID", default="", help="only machines of this subscription")
    listed = "list the machines that are this far, each with its reason"
    parser.add_argument("--list", choices=tuple(State), type=str.lower, metavar=f"{{{','.join(State)}}}", help=listed)
    add_output(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    chosen = choose(read_configuration(environment).rules, args.old, args.new)
    listed = State(args.list) if args.list else None
    try:
        return asyncio.run(_show(chosen, Selection(subscription=args.subscription), listed, args.output, environment))
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None


def choose(rules: Rules, old: str, new: str) -> tuple[Migration, ...]:
    """The migrations that the policies or the two names say. Raises BadInput if there are none."""
    named = {policy.name: policy for policy in rules.policies.policies}
    if old and old not in rules.catalogue:
        raise BadInput(
            "--from", f"unknown extension {as_written(old)}", known_names("extensions", rules.catalogue, old)
        )
    if new and new not in named:
        raise BadInput("--to", f"unknown policy {as_written(new)}", known_names("policies", named, new))
    found = migrations(rules.policies)
    chosen = [each for each in found if (not old or old in each.old) and new in ("", each.policy)]
    if chosen:
        return tuple(chosen)
    if old and new:
        return (Migration((old,), named[new].extensions, new),)
    problem = "no policy removes an extension after another policy"
    if found:
        problem = "no such removal policy fits --from or --to"
    fix = (
        "give --from EXTENSION and --to POLICY, or write a policy with removeIfExists and onlyAfter (docs/migration.md)"
    )
    raise BadInput("", problem, fix)


async def _show(
    chosen: Sequence[Migration], selection: Selection, listed: State | None, form: Form, environment: Mapping[str, str]
) -> int:
    # Imported here because the table SDK and rich take long to load, and other commands do not need them.
    from onboarding.app import open_ledger
    from onboarding.cli.operations.migration_output import open_list, write_progress

    found = 0
    async with open_ledger(environment) as ledger:
        progress: list[tuple[Migration, Progress]] = []
        writer = open_list(form) if listed is not None else None
        for migration in chosen:
            counted = Progress()
            async for machine in machine_progress(ledger, migration, selection):
                if writer is None:
                    counted.add(machine)
                    found += 1
                elif machine.state is listed:
                    writer.write(migration, machine)
                    found += 1
            progress.append((migration, counted))
    if writer is not None:
        writer.end()
    else:
        write_progress(progress, form)
    return 0 if found else 1
