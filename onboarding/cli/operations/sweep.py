"""`onboard sweep`: run one sweep by hand, as the timer does: find VMs that need reconciling, and request it.

The requests go to the queue of the function app; a dry run only lists the VMs and the reasons. Exit codes: 0 everything
was compared, 1 something is left (it could not be read, the budget is used up, or another sweep is running), 2 bad
input, settings or login, and nothing was done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from onboarding.app import Configuration, assemble, open_ports, read_configuration
from onboarding.application.operator_requests import NoAccess, check_access, check_any_access
from onboarding.application.ports import Ports
from onboarding.application.readers.policy_scopes import PolicyScopes
from onboarding.application.sweep.sweep_queue import SweepFilter, SweepListener, SweepReport
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import CommandFailed, Commands
from onboarding.cli.operations.preflight import access_problem, check_configuration, check_policy, with_setting
from onboarding.cli.output import FORMERLY_LINES, Form, add_output, open_records
from onboarding.domain.errors import StorageError
from onboarding.domain.json_access import printable
from onboarding.domain.policy.management_groups import NOWHERE
from onboarding.domain.reconcile.drift import Finding
from onboarding.domain.resource_id import VmId

if TYPE_CHECKING:
    from rich.status import Status

_PROGRESS_STEP = 500  # VMs between two updates of the progress


def add(commands: Commands) -> None:
    parser = add_command(commands, "sweep")
    parser.add_argument("--dry-run", action="store_true", help="list the VMs and the reasons, and change nothing")
    parser.add_argument(
        "--policy", metavar="NAME", default="", help="only what this policy wants (default: all policies)"
    )
    parser.add_argument("--subscription", metavar="ID", default="", help="only this subscription")
    add_output(parser, formerly=FORMERLY_LINES)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    configuration = read_configuration(environment)
    check_policy(configuration, args.policy)
    if not args.dry_run:
        check_configuration(configuration, args.policy)
    sweep_filter = SweepFilter(args.policy, args.subscription, args.dry_run, count=True)
    try:
        report = asyncio.run(_sweep(configuration, sweep_filter, args.output))
    except StorageError as error:
        raise CommandFailed(with_setting(error, environment)) from error
    except NoAccess as refused:
        raise CommandFailed(access_problem(refused, configuration)) from refused
    return 0 if report.complete else 1


async def _sweep(configuration: Configuration, sweep_filter: SweepFilter, form: Form) -> SweepReport:
    from rich.console import Console

    async with open_ports(configuration, check=True) as ports:
        sweep = assemble(ports, configuration).sweeper
        await _check_access(ports, configuration, sweep_filter)
        with Console(stderr=True).status("comparing") as status:
            findings = _FindingPrinter(status, form)
            report = await sweep.run(sweep_filter, findings)
    findings.end(report)
    return report


async def _check_access(ports: Ports, configuration: Configuration, sweep_filter: SweepFilter) -> None:
    """Raise NoAccess for the first subscription that the signed-in person has no access to."""
    if sweep_filter.subscription:
        return await check_access(ports.arm, [sweep_filter.subscription])
    policies = await PolicyScopes(configuration.rules.policies, ports.inventory).policies(ports.clock())
    scopes = [scope for policy in policies.policies for scope in policy.scopes if scope != NOWHERE]
    named = {scope.subscription for scope in scopes} - {""}
    await check_access(ports.arm, named)
    everywhere = any(not policy.scopes for policy in policies.policies) or any(
        not scope.subscription for scope in scopes
    )
    if everywhere or not named:
        await check_any_access(ports.arm)


class _FindingPrinter(SweepListener):
    """Prints each finding at once: a fleet may be too large for memory."""

    def __init__(self, status: Status, form: Form) -> None:
        self._status = status
        self._form = form
        columns = ("vm", "reason", "policy")
        self._records = None if form is Form.TABLE else open_records(form, columns, encode=json.dumps)
        if form is Form.JSON:
            print('{"findings": ', end="")

    def compared(self, report: SweepReport) -> None:
        if report.machines % _PROGRESS_STEP == 0:
            self._status.update(f"compared {report.machines:,} VMs, {report.requested:,} to reconcile")

    def found(self, vm: VmId, finding: Finding) -> None:
        if self._records is not None:
            self._records.write({"vm": str(vm), "reason": finding.reason.value, "policy": finding.policy})
        else:
            print(printable(f"{finding.reason:11} {vm}" + (f" ({finding.policy})" if finding.policy else "")))

    def end(self, report: SweepReport) -> None:
        """Print the report: in JSON as a part of the output, else to standard error."""
        if self._records is not None:
            self._records.end()
        summary = json.dumps({"summary": asdict(report)})
        if self._form is Form.JSON:
            print(f", {summary[1:]}")
        elif self._form is Form.JSONL:
            print(summary)
        else:
            print(printable(str(report)), file=sys.stderr)
