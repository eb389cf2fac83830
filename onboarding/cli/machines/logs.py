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
from onboarding.application.image_check import used_extensions
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.extension_choice import add_extension
from onboarding.cli.io import BadInput, CommandFailed, Commands
from onboarding.cli.machines.request_runner import explain_arm_error
from onboarding.cli.output import Form, add_output, write_records
from onboarding.cli.vm_arguments import add_vms, read_vm
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import ArmError, as_written, known_names
from onboarding.domain.failures.handler_log import LogLine, diagnose_lines, log_script, read_output
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.masking import mask
from onboarding.domain.resource_id import VmId

NEEDS = (
    "a run command needs the right Microsoft.Compute/virtualMachines/runCommand/action (role VM Onboarding Logs, for"
    " the group in LOG_READERS_ID), a VM that runs, and a guest agent that reports"
)
_MOST_LINES = 500


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "logs",
        description=f"Reads the log files on the VM and changes nothing. Note that {NEEDS}.",
    )
    add_vms(parser, several=False)
    add_extension(parser, default="those that the policies use, for the VM's OS")
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
    entries = _entries(configuration, args.extension)
    fetched = asyncio.run(_fetch(configuration, vm, entries, args.lines))
    texts = [(entry, text) for entry, output in fetched if (text := read_output(output, entry.os_type))]
    if not texts:
        paths = ", ".join(path for entry, _ in fetched for path in entry.logs)
        print(f"{vm.name} has none of {paths}: the handler has not run there")
        return 1
    now = datetime.now(UTC)
    lines = (line for entry, text in texts for line in diagnose_lines(text, entry.errors, now))
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


def _entries(configuration: Configuration, name: str) -> tuple[CatalogueEntry, ...]:
    """The extension of that name, or those that the policies use, as far as their logs are known."""
    rules = configuration.rules
    found = (
        [rules.catalogue.get(name)]
        if name
        else [each.entry for each in used_extensions(rules.policies, rules.catalogue)]
    )
    with_logs = {entry.name: entry for entry in found if entry is not None and entry.logs}
    if not with_logs:
        known = [each.name for each in rules.catalogue.values() if each.logs]
        problem = (
            f"the extension {as_written(name)} has no known logs"
            if name
            else "no policy uses an extension with known logs"
        )
        raise BadInput("--extension", problem, known_names("extensions with logs", known, name))
    return tuple(with_logs.values())


async def _fetch(
    configuration: Configuration, vm: VmId, entries: tuple[CatalogueEntry, ...], lines: int
) -> list[tuple[CatalogueEntry, str]]:
    """What the VM prints of each extension's logs. If extensions of both systems are possible, the VM is read first."""
    async with open_machines(configuration) as (arm, shell):
        try:
            if len({entry.os_type for entry in entries}) > 1:
                os_type = read_facts((await arm.read_machine(vm)).body).os_type
                entries = tuple(entry for entry in entries if entry.os_type is os_type) or entries[:1]
            return [(entry, await shell.run(vm, log_script(entry, lines), entry.os_type)) for entry in entries]
        except ArmError as error:
            names = ", ".join(entry.name for entry in entries)
            needs = f"{NEEDS}; {names} is for {entries[0].os_type}, so the VM must be one"
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
