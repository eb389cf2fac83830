"""`onboard policy resume`: resume a policy that its rollout limit stopped after too many failures; without a name, show
the rollout state of all policies.

Its VMs are installed at their next scheduled check. Exit codes: 0 it was resumed, 1 there was nothing to resume, 2 bad
settings.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import to_builtins

from onboarding.cli.command_list import add_action
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.cli.output import Form, add_output, write_records
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.json_access import printable
from onboarding.domain.limits.rollout_limit import RolloutState

if TYPE_CHECKING:
    from onboarding.application.ports import RolloutStore


def add(actions: Commands) -> None:
    parser = add_action(actions, "resume")
    parser.add_argument("policy", nargs="?", metavar="NAME", help="the policy (default: show the rollout state of all)")
    add_output(parser, note="of the rollout state")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.policy and args.output is not Form.TABLE:
        problem = f"--output {args.output} is not available for policy resume with a name"
        raise BadInput("--output", problem, "use table")
    environment = environment_of(args)
    try:
        return asyncio.run(_run(args.policy, args.output, environment))
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None


async def _run(policy: str | None, form: Form, environment: Mapping[str, str]) -> int:
    from onboarding.app import open_rollouts

    async with open_rollouts(environment) as rollouts:
        return await _resume(rollouts, policy) if policy else await _show(rollouts, form)


async def _show(rollouts: RolloutStore, form: Form) -> int:
    states = await rollouts.read_all()
    if form is not Form.TABLE:
        write_records(form, RolloutState.__struct_fields__, map(to_builtins, states))
        return 0 if states else 1
    print(
        "\n".join(printable(str(state)) for state in states)
        or "no policy with a rollout limit has installed anything yet"
    )
    return 0 if states else 1


async def _resume(rollouts: RolloutStore, policy: str) -> int:
    while True:
        stored = await rollouts.read(policy)
        if stored is None or stored.state.stopped_at is None:
            print(f"policy {policy} is not stopped")
            return 1
        try:
            await rollouts.write(stored.state.recovered(), stored.version, rest=stored.rest)
        except LostRace:
            continue
        print(printable(f"policy {policy} is resumed; it was stopped by {stored.state.because}"))
        return 0
