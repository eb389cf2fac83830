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
from onboarding.application.operator_requests import NoAccess, OperatorRequests, Preview
from onboarding.application.planned_steps import PlannedStep, in_words
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, CommandFailed, Commands
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
from onboarding.cli.vm_arguments import add_vms, read_vms
from onboarding.domain.catalog.setting_templates import MachineValues
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.json_access import printable
from onboarding.domain.masking import mask
from onboarding.domain.reconcile.decision import Act, OperatorRequest, Satisfied, Stop
from onboarding.domain.reconcile.row import Row
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.resource_id import VmId
from onboarding.export.az_commands import az_association, az_extension_set, az_identity_assign
from onboarding.export.template_settings import placeholders

type Work = Callable[[OperatorRequests], Awaitable[int]]


def add(commands: Commands) -> None:
    parser = add_command(commands, "install")
    add_vms(parser, several=True)
    add_request_options(parser)
    parser.add_argument(
        "--show-az", action="store_true", help="print the equivalent az commands, without their secrets"
    )
    parser.set_defaults(run=run)


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `install` and `retry` share."""
    parser.add_argument(
        "--policy", metavar="NAME", default="", help="only what this policy decides (default: all policies)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and change nothing")
    parser.add_argument("--force", action="store_true", help="install even if the operating system is unknown")
    parser.add_argument("--reconnect", action="store_true", help="also move VMs that report to another workspace")
    parser.add_argument(
        "--no-wait", action="store_true", help="send the requests and exit; the function app does the rest"
    )
    parser.add_argument(
        "--timeout", type=float, default=900, metavar="S", help="wait S seconds at most (default: %(default)s)"
    )
    parser.add_argument(
        "--interval", type=float, default=10, metavar="S", help="check every S seconds (default: %(default)s)"
    )
    add_output(parser, note="json is one object on each line, as jsonl")
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vms = read_vms(args, environment)
    if not vms:
        raise BadInput("", "no VM is named", "give ids, -g GROUP -n NAME, or - for ids on standard input")
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


async def _run_on_ports(configuration: Configuration, work: Work) -> int:
    async with open_ports(configuration, check=True) as ports:
        return await work(assemble(ports, configuration).requests)


async def run_requests(args: argparse.Namespace, requests: OperatorRequests, vms: tuple[VmId, ...]) -> int:
    """The command itself, once it is connected. Raises NoAccess before anything is written."""
    await requests.check_access(vms)
    request = OperatorRequest(args.policy, args.force, args.reconnect)
    if args.dry_run:
        return await _preview(args, requests, vms, request)
    if getattr(args, "show_az", False):
        await _preview(args, requests, vms, request, commands_only=True)
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
    if UNDER_WAY in {result.code for result in results}:
        print("Some are not finished: the function app continues. Run this again to follow them.", file=sys.stderr)


def _lines(form: Form) -> Form:
    """The JSON of `install` and `retry` was one object on each line before there was a form for that, and stays so."""
    return Form.JSONL if form is Form.JSON else form


async def _preview(
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
            found.append(_Line(vm.name, preview.context.entry.name, *_describe(preview), preview.steps))
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
    from onboarding.cli.console import open_console, plain_table
    from onboarding.cli.console import printable as as_text

    table = plain_table("VM", "Extension", "Would", "Because")
    for line in found:
        written = in_words(line.steps) if line.would not in ("leave", "wait") else ""
        would = f"{line.would} ({written})" if written and "(" not in line.would else line.would
        table.add_row(as_text(line.vm), line.extension, as_text(would), as_text(line.because))
    open_console().print(table)


def _describe(preview: Preview) -> tuple[str, str]:
    decision = preview.decision
    advice = ""
    if isinstance(decision, Satisfied | Stop) and decision.problem is not None:
        advice = f"\n{decision.problem.advice}"
    match decision:
        case Act():
            would = "install"
        case Satisfied():
            would = "complete" if in_words(preview.steps) else "leave"
        case Stop(outcome=outcome):
            would = f"refuse ({outcome})"
        case _:
            would = "wait"
    return would, mask(f"{decision.reason}{advice}")


def _is_fine(preview: Preview) -> bool:
    decision = preview.decision
    return isinstance(decision, Act) or (isinstance(decision, Satisfied) and decision.problem is None)


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
        elif isinstance(decision, Act):
            public, protected = placeholders(entry, policy, context.settings, MachineValues.of(context.facts))
            yield az_extension_set(vm, entry, decision.name or entry.resource_name, public, protected)
