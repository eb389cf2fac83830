"""`onboard pause`: stop all requests that change something in Azure, those of one subscription, or those of one policy;
with --list, show what is paused.

Within 30 seconds no host sends such a request any more. Events are read on, and rows wait. Exit codes: 0 it is paused,
or something is; 1 --list found nothing; 2 bad input or settings, and nothing was written.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import textwrap
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import to_builtins

from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.operations.preflight import diagnose_storage
from onboarding.cli.output import Form, add_output, write_records
from onboarding.cli.times import parse_until
from onboarding.domain.errors import StorageError, as_written, known_names
from onboarding.domain.json_access import printable
from onboarding.domain.limits.pause import Pause

_WIDTH = 80
_COLUMNS = ("subscription", "policy", "since", "until", "by", "reason")


def add(commands: Commands) -> None:
    parser = add_command(commands, "pause")
    add_scope(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; everybody who looks at a row reads it")
    until = "when it ends by itself: in 30m, 2h or 7d, or at 2026-11-20T09:00 (UTC; default: `onboard resume` ends it)"
    parser.add_argument("--until", type=parse_until, metavar="TIME", help=until)
    parser.add_argument("--list", action="store_true", help="show what is paused, and change nothing")
    add_output(parser, note="of --list")
    add_settings(parser)
    parser.set_defaults(run=run)


def add_scope(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is paused; `read_scope` reads them."""
    parser.add_argument("--subscription", metavar="ID", default="", help="only this subscription (default: all)")
    parser.add_argument("--policy", metavar="NAME", default="", help="only this policy (default: all)")


def read_scope(args: argparse.Namespace) -> tuple[str, str]:
    """The subscription, in lower case, and the policy; empty: all. Raises BadInput."""
    if not args.subscription:
        return "", args.policy
    try:
        return str(UUID(args.subscription.strip())), args.policy
    except ValueError:
        problem = f"{as_written(args.subscription)} is not the id of a subscription"
        raise BadInput("--subscription", problem, "copy it from `az account list -o table`") from None


def run(args: argparse.Namespace) -> int:
    scope = read_scope(args)
    if args.list and (args.reason or args.until or any(scope)):
        raise BadInput("--list", "--list is given with something to pause", "remove --list, or everything else")
    if not args.list and not args.reason.strip():
        fix = "say why with --reason TEXT, or give --list to see what is paused"
        raise BadInput("--reason", "no reason is given", fix)
    if not args.list and args.output is not Form.TABLE:
        raise BadInput("--output", f"--output {args.output} is given without --list", "add --list, or use table")
    environment = environment_of(args)
    work = _list(args.output, environment) if args.list else _begin(args, scope, environment)
    try:
        return asyncio.run(work)
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None


async def _begin(args: argparse.Namespace, scope: tuple[str, str], environment: Mapping[str, str]) -> int:
    from onboarding.app import open_pauses

    subscription, policy = scope
    async with open_pauses(environment) as opened:
        if policy:
            check_name(policy, await opened.policies())
        pause = Pause(
            reason=args.reason.strip(),
            since=datetime.now(UTC),
            until=args.until,
            subscription=subscription,
            policy=policy,
            by=await opened.person(),
        )
        before = await opened.requests.begin(pause)
    if before is not None:
        print(printable(f"this replaces: {before}{_by(before)}"), file=sys.stderr)
    print(printable(str(pause)))
    resume = shlex.join(["onboard", "resume", *_scope_arguments(pause)])
    print(printable(f"no host sends such a request later than 30 s from now; `{resume}` ends it"))
    return 0


async def _list(form: Form, environment: Mapping[str, str]) -> int:
    from onboarding.app import open_pauses

    async with open_pauses(environment) as opened:
        pauses = await opened.requests.active()
    if form is not Form.TABLE:
        write_records(form, _COLUMNS, map(as_record, pauses))
    elif pauses:
        print("\n\n".join(map(_described, pauses)))
    else:
        print("nothing is paused")
    return 0 if pauses else 1


def check_name(policy: str, known: Iterable[str]) -> None:
    """Raise BadInput for a policy that neither the table nor the folder of policies has: a mistyped name would stop
    nothing."""
    names = sorted(set(known))
    if policy not in names:
        raise BadInput("--policy", f"unknown policy {as_written(policy)}", known_names("policies", names, policy))


def as_record(pause: Pause) -> dict[str, Any]:
    """A pause for programs; an empty scope is everything."""
    record: dict[str, Any] = to_builtins(pause)
    return {name: record[name] for name in _COLUMNS}


def _described(pause: Pause) -> str:
    """A pause in lines of at most 80 columns."""
    until = f"until {pause.until:%Y-%m-%d %H:%M} UTC" if pause.until else "until `onboard resume`"
    lines = [pause.place, f"  since {pause.since:%Y-%m-%d %H:%M} UTC, {until}"]
    lines += [f"  by {pause.by}"] if pause.by else []
    return "\n".join(map(printable, [*lines, *textwrap.wrap(f"  {pause.reason}", _WIDTH, subsequent_indent="  ")]))


def lines_of(pauses: Iterable[Pause]) -> list[str]:
    """A line for each pause."""
    return [printable(f"{pause}{_by(pause)}") for pause in pauses]


def _by(pause: Pause) -> str:
    return f" (by {pause.by})" if pause.by else ""


def _scope_arguments(pause: Pause) -> list[str]:
    """What `onboard resume` needs to end it."""
    subscription = ["--subscription", pause.subscription] if pause.subscription else []
    return [*subscription, *(["--policy", pause.policy] if pause.policy else [])]
