"""`onboard install`: reconcile chosen VMs now. It decides, claims and writes rows exactly as the function app does.

A VM that policy or its operating system excludes is refused, and its row says why. --force only helps where the
operating system is unknown: it assumes that the extension supports it. Exit codes: 0 all are onboarded, 1 some failed
or were refused, 2 bad input, settings or login, and nothing was done, 3 some are not finished yet.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from onboarding.app import Configuration, assemble, open_ports, read_configuration
from onboarding.application.operator_requests import NoAccess, OperatorRequests, Paused, Preview, described
from onboarding.application.planned_steps import PlannedStep, in_words
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import CommandFailed, Commands
from onboarding.cli.machines.request_runner import (
    UNDER_WAY,
    RequestResult,
    RequestRunner,
    WaitLimits,
    exit_code,
    explain_arm_error,
)
from onboarding.cli.operations.preflight import access_problem, check_configuration, check_policy, with_setting
from onboarding.cli.output import Form, add_output, write_records
from onboarding.cli.vm_arguments import add_vms, read_some_vms
from onboarding.domain.catalog.catalogue_entry import over
from onboarding.domain.catalog.setting_templates import MachineValues
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.json_access import printable
from onboarding.domain.limits.pause import Pause
from onboarding.domain.masking import mask
from onboarding.domain.reconcile.decision import Act, OperatorRequest, Satisfied, Stop
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.resource_id import VmId
from onboarding.export.az_commands import az_association, az_extension_delete, az_extension_set, az_identity_assign
from onboarding.export.template_settings import placeholders

type Work = Callable[[OperatorRequests], Awaitable[int]]


def add(commands: Commands) -> None:
    parser = add_command(commands, "install")
    add_vms(parser, several=True)
    add_request_options(parser)
    parser.add_argument(
        "--show-az", action="store_true", help="print the equivalent az commands, without their secrets"
    )
    parser.set_defaults(run=run, removal=False)


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `install` and `retry` share."""
    parser.add_argument(
        "--policy", metavar="NAME", default="", help="only what this policy decides (default: all policies)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and change nothing")
    parser.add_argument("--force", action="store_true", help="install even if the operating system is unknown")
    parser.add_argument("--reconnect", action="store_true", help="also move VMs that report to another workspace")
    add_wait_options(parser)
    add_output(parser, note="json is one object on each line, as jsonl")
    add_settings(parser)


def add_wait_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how long a command follows what it began, and whether it goes on despite a pause."""
    parser.add_argument("--despite-pause", action="store_true", help="also where `onboard pause` has stopped changes")
    parser.add_argument(
        "--no-wait", action="store_true", help="send the requests and exit; the function app does the rest"
    )
    parser.add_argument(
        "--timeout", type=float, default=900, metavar="S", help="wait S seconds at most (default: %(default)s)"
    )
    parser.add_argument(
        "--interval", type=float, default=10, metavar="S", help="check every S seconds (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vms = read_some_vms(args, environment)
    return run_with(args, environment, lambda requests: run_requests(args, requests, vms))


def run_with(args: argparse.Namespace, environment: Mapping[str, str], work: Work) -> int:
    """Check settings and policies, connect to storage and ARM, and run `work`."""
    configuration = read_configuration(environment)
    check_policy(configuration, args.policy)
    if not args.dry_run:
        check_configuration(configuration, args.policy)
    try:
        return asyncio.run(_run_on_ports(configuration, work))
    except StorageError as error:
        raise CommandFailed(with_setting(error, environment)) from error
    except NoAccess as refused:
        raise CommandFailed(access_problem(refused, configuration)) from refused
    except Paused as refused:
        raise CommandFailed(f"{_paused(refused.pause)}; nothing was written") from refused


def _paused(pause: Pause) -> str:
    """Why nothing is sent, and what to do. A person who does not know of the pause must not break it by accident."""
    by = f" (by {pause.by})" if pause.by else ""
    return f"{mask(str(pause))}{by}; wait for its end, end it with `onboard resume`, or send with --despite-pause"


async def _run_on_ports(configuration: Configuration, work: Work) -> int:
    async with open_ports(configuration, check=True) as ports:
        return await work(assemble(ports, configuration).requests)


async def run_requests(args: argparse.Namespace, requests: OperatorRequests, vms: tuple[VmId, ...]) -> int:
    """The command itself, once it is connected. Raises Paused and NoAccess before anything is written."""
    request = OperatorRequest(
        policy=args.policy,
        removal=args.removal,
        force=args.force,
        reconnect=args.reconnect,
        despite_pause=args.despite_pause,
    )
    await check_first(args, requests, vms, request)
    if args.dry_run:
        return await preview(args, requests, vms, request)
    if getattr(args, "show_az", False):
        await preview(args, requests, vms, request, commands_only=True)
    return await carry_out(args, requests, vms, request)


async def check_first(
    args: argparse.Namespace, requests: OperatorRequests, vms: tuple[VmId, ...], request: OperatorRequest
) -> None:
    """Raises Paused and NoAccess before anything is written; a dry run only says what is paused."""
    if not args.despite_pause:
        try:
            await requests.check_pauses(vms, request)
        except Paused as refused:
            if not args.dry_run:
                raise
            print(printable(f"note: {_paused(refused.pause)}"), file=sys.stderr)
    await requests.check_access(vms)


async def carry_out(
    args: argparse.Namespace, requests: OperatorRequests, vms: tuple[VmId, ...], request: OperatorRequest
) -> int:
    """Send the request for each VM, follow it, and print the rows; returns the exit code."""
    limits = WaitLimits(None if args.no_wait else args.timeout, args.interval)
    results = await RequestRunner(requests, request, limits, _progress).all(vms)
    _print_results(results, args.output)
    return exit_code(results)


def _progress(row: Row) -> None:
    waiting = f" ({row.waiting_for})" if row.waiting_for else ""
    print(
        f"{datetime.now(UTC):%H:%M:%S} {row.vm_name}: {row.outcome}{waiting}, {printable(row.reason)}", file=sys.stderr
    )


def _print_results(results: list[RequestResult], form: Form) -> None:
    from onboarding.cli.machines.status_output import open_writer

    rows = [row for result in results for row in result.rows.values()]
    if rows:
        output = open_writer(_lines(form), history=False)
        for row in rows:
            output.write(row)
        output.end()
    for result in results:
        if result.problem:
            print(f"{result.vm.name}: {printable(mask(result.problem))}", file=sys.stderr)
        elif not result.rows:
            print(f"{result.vm.name}: there is nothing to remove", file=sys.stderr)
    if UNDER_WAY in {result.code for result in results}:
        print("Some are not finished: the function app continues. Run this again to follow them.", file=sys.stderr)


def _lines(form: Form) -> Form:
    """The JSON of `install` and `retry` was one object on each line before there was a form for that, and stays so."""
    return Form.JSONL if form is Form.JSON else form


async def preview(
    args: argparse.Namespace,
    requests: OperatorRequests,
    vms: tuple[VmId, ...],
    request: OperatorRequest,
    *,
    commands_only: bool = False,
) -> int:
    """Print what would be done for each VM; 0 if each is onboarded or would be."""
    found: list[_Line] = []
    fine = True
    for vm in vms:
        try:
            previews = await requests.preview(vm, request)
        except ArmError as error:
            found.append(_Line(vm.name, "", "refuse", mask(explain_arm_error(error)), ()))
            fine = False
            continue
        fine &= bool(previews) and all(_is_fine(preview) for preview in previews)
        for preview in previews:
            found.append(_Line(vm.name, preview.context.entry.name, *described(preview), preview.steps))
            if getattr(args, "show_az", False):
                print("".join(f"{command}\n\n" for command in _az(vm, preview)), end="")
    if not commands_only:
        _print_previews(found, args.output)
    return 0 if fine else 1


class _Line(NamedTuple):
    """What would be done for one extension of one VM."""

    vm: str
    extension: str
    would: str
    because: str
    steps: tuple[PlannedStep, ...]

    def as_dict(self, *, nested: bool) -> dict[str, Any]:
        steps = [step.as_dict() for step in self.steps] if nested else in_words(self.steps)
        return {**self._asdict(), "steps": steps}


def _print_previews(found: list[_Line], form: Form) -> None:
    if form is not Form.TABLE:
        records = (line.as_dict(nested=form is not Form.CSV) for line in found)
        write_records(_lines(form), _Line._fields, records)
        return
    from onboarding.cli.console import open_console
    from onboarding.cli.console import printable as as_text
    from onboarding.cli.machines.row_table import Line, print_lines

    lines = []
    for line in found:
        written = in_words(line.steps) if line.would not in ("leave", "wait") else ""
        would = f"{line.would} ({written})" if written and "(" not in line.would else line.would
        cells = [as_text(line.vm), as_text(line.extension), as_text(would)]
        lines.append(Line(cells, as_text(line.because)))
    print_lines(open_console(), ("VM", "Extension", "Would"), lines)


def _is_fine(preview: Preview) -> bool:
    decision = preview.decision
    gone = isinstance(decision, Stop) and decision.outcome is Outcome.REMOVED
    return gone or isinstance(decision, Act) or (isinstance(decision, Satisfied) and decision.problem is None)


def _az(vm: VmId, preview: Preview) -> Iterator[str]:
    """The commands for the steps that would be written, in their order."""
    decision, context = preview.decision, preview.context
    if not isinstance(decision, (Act, Satisfied)):
        return
    entry, policy = context.entry, context.assignment.policy
    for step in preview.steps:
        if not step.written:
            continue
        if step.step is StepKind.IDENTITY:
            yield az_identity_assign(vm, step.subject)
        elif step.step is StepKind.ASSOCIATION:
            endpoint = step.subject == context.needs.associations.endpoint
            yield az_association(vm, step.subject, endpoint=endpoint)
        elif step.step is StepKind.REMOVAL and isinstance(decision, Act):
            yield az_extension_delete(vm, decision.name)
        elif isinstance(decision, Act):
            public, protected = placeholders(entry, policy, context.settings, MachineValues.of(context.facts))
            there = context.extension
            entry = entry if there is None else over(entry, there)  # never a lower version than what is there
            yield az_extension_set(vm, entry, decision.name or entry.resource_name, public, protected)
