"""`onboard policy resume`: let a policy go on that stopped after too many failures; without a name, show all brakes.

Its VMs come at their next look. Exit codes: 0 it goes on, 1 there was nothing to resume, 2 bad settings.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import Commands
from onboarding.cli.operations.preflight import explained
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.json_access import printable

if TYPE_CHECKING:
    from onboarding.application.ports import RolloutStore


def add(actions: Commands) -> None:
    parser = actions.add_parser("resume", help="let a policy go on that its brake stopped")
    parser.add_argument("policy", nargs="?", metavar="NAME", help="the policy (default: show what is counted for all)")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    try:
        return asyncio.run(_run(args.policy, environment))
    except StorageError as error:
        raise asyncio.run(explained(error, environment)) from None


async def _run(policy: str | None, environment: Mapping[str, str]) -> int:
    from onboarding.app import open_rollouts

    async with open_rollouts(environment) as rollouts:
        return await _resume(rollouts, policy) if policy else await _show(rollouts)


async def _show(rollouts: RolloutStore) -> int:
    states = await rollouts.read_all()
    print("\n".join(printable(str(state)) for state in states) or "no policy with a brake has installed anything yet")
    return 0 if states else 1


async def _resume(rollouts: RolloutStore, policy: str) -> int:
    while True:
        stored = await rollouts.read(policy)
        if stored is None or stored.state.stopped_at is None:
            print(f"policy {policy} is not stopped")
            return 1
        try:
            await rollouts.write(stored.state.recovered(), stored.version)
        except LostRace:
            continue
        print(printable(f"policy {policy} goes on; it was stopped by {stored.state.because}"))
        return 0
