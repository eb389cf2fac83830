"""`onboard logs`: read the extension handler's log on the VM by a run command, mask secrets and explain failures.

Exit codes: 0 the log is shown, 1 the VM has no such log, 2 bad input, or ARM refused the run command.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from onboarding.app import Configuration, open_machines, read_configuration
from onboarding.application.image_check import DEFAULT_EXTENSION
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, CommandFailed, Commands
from onboarding.cli.machines.request_runner import explain_arm_error
from onboarding.cli.output import Form, add_output, write_records
from onboarding.cli.vm_arguments import add_vms, read_vm
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import ArmError, as_written, known_names
from onboarding.domain.failures.handler_log import LogLine, diagnose_lines, log_script, read_output
from onboarding.domain.masking import mask
from onboarding.domain.resource_id import VmId

NEEDS = (
    "a run command needs the right Microsoft.Compute/virtualMachines/runCommand/action (role Virtual Machine"
    " Contributor), a VM that runs, and a guest agent that reports"
)
_MOST_LINES = 500


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "logs",
        description=f"Reads the log files on the VM and changes nothing. Note that {NEEDS}.",
    )
    add_vms(parser, several=False)
    parser.add_argument("--extension", default=DEFAULT_EXTENSION, help="catalogue entry (default: %(default)s)")
    parser.add_argument(
        "--lines", type=int, default=20, metavar="N", help="last lines of each file (default: %(default)s)"
    )
    add_output(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vm = read_vm(args, environment)
    if not 0 < args.lines <= _MOST_LINES:
        fix = f"give a number from 1 to {_MOST_LINES}; Azure returns 4 KB at the most"
        raise BadInput("--lines", f"{args.lines} is not a number of lines", fix)
    configuration = read_configuration(environment)
    entry = configuration.rules.catalogue.get(args.extension)
    if entry is None or not entry.logs:
        known = [name for name, each in configuration.rules.catalogue.items() if each.logs]
        problem = f"the extension {as_written(args.extension)} has no known logs"
        raise BadInput("--extension", problem, known_names("extensions with logs", known, args.extension))
    text = read_output(asyncio.run(_fetch(configuration, vm, entry, args.lines)), entry.os_type)
    if not text:
        print(f"{vm.name} has none of {', '.join(entry.logs)}: the handler has not run there")
        return 1
    lines = diagnose_lines(text, entry.errors, datetime.now(UTC))
    if args.output is Form.TABLE:
        show(lines)
    else:
        write_records(args.output, _COLUMNS, map(_fields, lines))
    return 0


_COLUMNS = ("text", "exitCode", "cause", "meaning", "advice")


def _fields(line: LogLine) -> dict[str, Any]:
    failure = line.failure
    return {
        "text": line.text,
        "exitCode": failure.exit_code if failure else None,
        "cause": failure.cause if failure else None,
        "meaning": mask(failure.meaning) if failure else None,
        "advice": mask(failure.advice) if failure else None,
    }


async def _fetch(configuration: Configuration, vm: VmId, entry: CatalogueEntry, lines: int) -> str:
    async with open_machines(configuration) as (_, shell):
        try:
            return await shell.run(vm, log_script(entry, lines), entry.os_type)
        except ArmError as error:
            needs = f"{NEEDS}; {entry.name} is for {entry.os_type}, so the VM must be one"
            raise CommandFailed(mask(f"{vm.name}: {explain_arm_error(error)}\n{needs}")) from None


def show(lines: Iterable[LogLine]) -> None:
    from rich.text import Text

    from onboarding.cli.console import open_console, printable

    console = open_console()
    for line in lines:
        console.print(printable(line.text, "bold" if line.text.startswith("==>") else ""), soft_wrap=True)
        if line.failure is not None:
            code = "" if line.failure.exit_code is None else f"exit code {line.failure.exit_code}: "
            for name, text in (("means", f"{code}{line.failure.meaning}"), ("do   ", line.failure.advice)):
                console.print(Text.assemble((f"   ↳ {name} ", "cyan"), printable(mask(text), "cyan")), soft_wrap=True)
