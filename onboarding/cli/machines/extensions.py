"""`onboard extensions`: list every extension of VMs as ARM reports it, mark those of the catalogue, diagnose failures.

It sends one request for each VM and does not read the table, so it shows the current state. Exit codes: 0 no extension
failed, 1 at least one failed, 2 bad input or a VM that cannot be read.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from onboarding.app import Configuration, open_machines, read_configuration
from onboarding.application.ports import Arm
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import CommandFailed, Commands, as_json
from onboarding.cli.machines.request_runner import explain_arm_error
from onboarding.cli.output import Form, add_output, write_records
from onboarding.cli.vm_arguments import add_vms, read_some_vms
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.classification import (
    Evidence,
    ExtensionState,
    Failure,
    classify,
    parse_errors,
    read_extension_state,
)
from onboarding.domain.machine.machine_facts import InstalledExtension, MachineFacts, read_facts
from onboarding.domain.masking import cut, mask
from onboarding.domain.resource_id import VmId
from onboarding.loading.package_data import shared_errors

_SHORT = 600  # characters of a message in the table
_COLUMNS = (
    *("vm", "name", "publisher", "type", "version", "provisioningState", "state", "entry"),
    *("message", "exitCode", "cause", "meaning", "advice"),
)


class ExtensionReport(Struct, frozen=True):
    """One extension of a VM, with what the catalogue knows about it."""

    extension: InstalledExtension

    entry: CatalogueEntry | None
    """The catalogue entry of its publisher and type, if there is one."""

    state: ExtensionState

    failure: Failure | None
    """The diagnosis of a failed extension, else None."""

    @property
    def message(self) -> str:
        text = "\n".join(status.message or status.display for status in self.extension.statuses)
        return "\n".join(line for line in mask(text).splitlines() if line.strip())

    def fields(self) -> dict[str, Any]:
        found, failure = self.extension, self.failure
        return {
            "name": found.name,
            "publisher": found.publisher,
            "type": found.type,
            "version": found.handler_version or found.version,
            "provisioningState": found.provisioning_state,
            "state": self.state,
            "entry": self.entry.name if self.entry else None,
            "message": self.message,
            "exitCode": failure.exit_code if failure else None,
            "cause": failure.cause if failure else None,
            "meaning": mask(failure.meaning) if failure else None,
            "advice": mask(failure.advice) if failure else None,
        }


def add(commands: Commands) -> None:
    parser = add_command(commands, "extensions")
    add_vms(parser, several=True)
    add_output(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    vms = read_some_vms(args, environment)
    configuration = read_configuration(environment)
    found = [
        (facts, report_extensions(facts, configuration.rules.catalogue))
        for facts in asyncio.run(_read(configuration, vms))
    ]
    every = [{"vm": facts.id.name, **report.fields()} for facts, reports in found for report in reports]
    if args.output is Form.JSON:
        print(as_json(every, indent=2))
    elif args.output is not Form.TABLE:
        write_records(args.output, _COLUMNS, every)
    else:
        for facts, reports in found:
            _print_table(facts, reports)
    return 1 if any(report.failure for _, reports in found for report in reports) else 0


def report_extensions(facts: MachineFacts, catalogue: Mapping[str, CatalogueEntry]) -> tuple[ExtensionReport, ...]:
    """A report of each extension of a machine."""
    by_handler = {f"{entry.publisher}.{entry.type}".lower(): entry for entry in catalogue.values()}
    return tuple(
        _report(extension, by_handler.get(f"{extension.publisher}.{extension.type}".lower()))
        for extension in facts.extensions
    )


def _report(extension: InstalledExtension, entry: CatalogueEntry | None) -> ExtensionReport:
    state = read_extension_state(extension)
    failure = None
    if state is ExtensionState.FAILED:
        errors = entry.errors if entry else parse_errors({}, shared_errors())
        failure = classify(Evidence.from_status(extension.statuses), errors, datetime.now(UTC))
    return ExtensionReport(extension, entry, state, failure)


async def _read(configuration: Configuration, vms: tuple[VmId, ...]) -> list[MachineFacts]:
    async with open_machines(configuration) as (arm, _):
        return [await _read_one(arm, vm) for vm in vms]


async def _read_one(arm: Arm, vm: VmId) -> MachineFacts:
    try:
        return read_facts((await arm.read_machine(vm)).body)
    except ArmError as error:
        raise CommandFailed(mask(f"{vm.name}: {explain_arm_error(error)}")) from None


def _print_table(facts: MachineFacts, reports: tuple[ExtensionReport, ...]) -> None:
    from rich.text import Text

    from onboarding.cli.console import open_console, plain_table, printable

    console = open_console()
    console.print(printable(f"{facts.id.name}: VM {facts.power}, guest agent {facts.agent}", "bold"))
    if not reports:
        console.print("no extensions")
        return
    styles = {ExtensionState.SUCCEEDED: "green", ExtensionState.FAILED: "bold red", ExtensionState.IN_PROGRESS: "cyan"}
    table = plain_table("", "Name", "Publisher.Type", "Version", "State", "Message")
    table.columns[-1].ratio = 1
    for report in reports:
        extension = report.extension
        texts = [printable(cut(report.message, _SHORT))]
        if (failure := report.failure) is not None:
            code = "" if failure.exit_code is None else f"{failure.exit_code}: "
            texts.append(Text.assemble(("means ", "dim"), printable(mask(f"{code}{failure.meaning}"))))
            texts.append(Text.assemble(("do    ", "dim"), printable(mask(failure.advice))))
        table.add_row(
            "*" if report.entry else "",
            printable(extension.name),
            printable(f"{extension.publisher}.\n{extension.type}"),
            printable(extension.handler_version or extension.version),
            Text(report.state, styles[report.state], no_wrap=True),
            Text("\n").join(texts),
        )
    console.print(table)
    if ours := ", ".join(report.entry.name for report in reports if report.entry):
        console.print(Text(f"* in the catalogue: {ours}", "dim"))
