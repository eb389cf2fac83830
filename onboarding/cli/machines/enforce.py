"""`onboard enforce`: take up machines that a policy only audits since they are older than it.

It opens their rows in the table and schedules a check for each; the function app does the work, under the policy's
rollout limit. Exit codes: 0 all are taken up or were before, also where nothing is left to take up; 1 some were left
out; 2 bad input, settings or storage, a pause, or another answer than yes, and nothing was done.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onboarding.app import Configuration, assemble, open_ports, read_configuration
from onboarding.application.enforcement import Answer, Enforced, Enforcement
from onboarding.cli.command_list import add_command
from onboarding.cli.console import open_console
from onboarding.cli.console import printable as as_text
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, CommandFailed, Commands, confirmed, counted, is_interactive
from onboarding.cli.machines.row_table import Line, PagedLines
from onboarding.cli.operations.pause import lines_of
from onboarding.cli.operations.preflight import check_policy, with_setting
from onboarding.cli.output import Form, add_output, open_records
from onboarding.cli.vm_arguments import add_vms, read_vms
from onboarding.domain.errors import StorageError
from onboarding.domain.json_access import printable
from onboarding.domain.policy.policy import Effect, Policy
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.resource_id import VmId

if TYPE_CHECKING:
    from rich.status import Status

_COLUMNS = ("vm", "extension", "result", "would", "due", "reason")
_PROGRESS_STEP = 100  # VMs between two updates of the progress


def add(commands: Commands) -> None:
    parser = add_command(commands, "enforce")
    parser.add_argument("policy", metavar="POLICY", help="the name of the policy")
    add_vms(parser, several=True)
    parser.add_argument("--limit", type=_limit, metavar="N", help="only the first N VMs, in the order of the table")
    parser.add_argument("--dry-run", action="store_true", help="list what would be done, and change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_output(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    configuration = read_configuration(environment)
    policy = read_policy(configuration, args.policy)
    vms = read_vms(args, environment)
    if not (args.yes or args.dry_run or is_interactive()):
        raise BadInput("", "nobody can be asked here", "give --yes; --dry-run lists what would be done")
    try:
        return asyncio.run(_run_on_ports(args, configuration, policy, vms))
    except StorageError as error:
        raise CommandFailed(with_setting(error, environment)) from error


def read_policy(configuration: Configuration, name: str) -> Policy:
    """The policy of that name. Raises BadInput for one that has no machines to take up, and says what to do instead."""
    check_policy(configuration, name, "POLICY")
    policy = next(each for each in configuration.rules.policies.policies if each.name == name)
    if policy.effect is Effect.DISABLED:
        raise BadInput("", f"policy {name} is disabled (effect: {policy.effect})", "give it another effect first")
    if policy.effect is Effect.AUDIT:
        fix = f"write `effect: {Effect.DEPLOY}` and deploy the policy; then run this again"
        raise BadInput("", f"policy {name} audits all machines (effect: {policy.effect})", fix)
    if not policy.spares_existing:
        fix = f"nothing: the sweep takes all of them up; `onboard status --policy {name}` shows how far it is"
        raise BadInput("", f"policy {name} acts on older machines by itself (existing: enforce)", fix)
    return policy


async def _run_on_ports(
    args: argparse.Namespace, configuration: Configuration, policy: Policy, vms: tuple[VmId, ...]
) -> int:
    async with open_ports(configuration, check=True) as ports:
        return await enforce(args, assemble(ports, configuration).enforcement(policy), vms)


async def enforce(args: argparse.Namespace, enforcement: Enforcement, vms: tuple[VmId, ...]) -> int:
    """The command itself, once it is connected; without VMs, those that the other arguments select. Raises
    CommandFailed before anything is written."""
    from rich.console import Console

    with Console(stderr=True).status("reading the table"):
        chosen = vms[: args.limit] or await enforcement.select(_selection(args), args.limit)
        if not chosen:
            print(f"policy {args.policy} has no older machines to take up")
            return 0
        pause = await enforcement.find_pause(chosen)
    if pause is not None:
        text = f"{lines_of([pause])[0]}; wait for its end, or end it with `onboard resume`"
        if not args.dry_run:
            raise CommandFailed(f"{text}; nothing was written")
        print(f"note: {text}", file=sys.stderr)
    if not (args.dry_run or args.yes):
        question = f"Take up {counted(len(chosen), 'VM')} for policy {args.policy}?"
        if not await asyncio.to_thread(confirmed, question):
            raise CommandFailed("nothing was written; --dry-run lists what would be done")
    with Console(stderr=True).status("") as status:
        printer = _Printer(args.output, status, dry_run=args.dry_run)
        async for each in enforcement.run(chosen, dry_run=args.dry_run):
            printer.write(each)
    printer.end(enforcement)
    return 1 if printer.answers[Answer.SKIPPED] else 0


def _selection(args: argparse.Namespace) -> Selection:
    return Selection(subscription=args.subscription, resource_group=args.resource_group, outcomes=(Outcome.AUDITED,))


class _Printer:
    """Prints the results, and counts them for the summary."""

    def __init__(self, form: Form, status: Status, *, dry_run: bool) -> None:
        self._status = status
        self._dry_run = dry_run
        self._records = None if form is Form.TABLE else open_records(form, _COLUMNS)
        self._lines = PagedLines(open_console(), ("VM", "Result"))
        self._words: Counter[str] = Counter()
        self.answers: Counter[Answer] = Counter()

    def write(self, each: Enforced) -> None:
        self.answers[each.answer] += 1
        if each.answer is Answer.TAKEN_UP:
            self._words[each.words] += 1
        if self._records is not None:
            self._records.write(self._record(each))
        else:
            said = each.words if each.answer is Answer.TAKEN_UP else each.reason
            name = f"{each.vm.resource_group}/{each.vm.name}"
            self._lines.add(Line([as_text(name), as_text(self._result(each))], as_text(said)))
        if not self.answers.total() % _PROGRESS_STEP:
            self._status.update(f"{counted(self.answers.total(), 'VM')} done")

    def end(self, enforcement: Enforcement) -> None:
        """Print what is left, and the summary: below the table, else to standard error."""
        if self._records is not None:
            self._records.end()
        else:
            self._lines.end()
            print()
        for line in self._summary(enforcement):
            print(printable(line), file=sys.stderr if self._records is not None else sys.stdout)

    def _summary(self, enforcement: Enforcement) -> list[str]:
        taken, name = self.answers[Answer.TAKEN_UP], enforcement.policy.name
        lines = [f"{counted(taken, 'VM')} {'would be ' if self._dry_run else ''}{Answer.TAKEN_UP}"]
        lines += [f"  {number:6} {words}" for words, number in self._words.most_common()]
        others = (Answer.BEFORE, Answer.SKIPPED)
        lines += [f"{self.answers[answer]} {answer}" for answer in others if self.answers[answer]]
        if taken:
            limited = (
                "under the policy's rollout limit" if enforcement.policy.rollout_limit else "without a rollout limit"
            )
            begins = f"the function app {'would begin' if self._dry_run else 'begins'} with"
            lines.append(f"{begins} {enforcement.per_minute} VMs a minute in each subscription, {limited}")
            lines.append(f"`onboard status --policy {name}` shows how far it is")
        return lines

    def _result(self, each: Enforced) -> str:
        return f"would be {each.answer}" if self._dry_run and each.answer is Answer.TAKEN_UP else each.answer.value

    def _record(self, each: Enforced) -> Mapping[str, Any]:
        due = each.due.isoformat(timespec="seconds") if each.due else None
        values = (str(each.vm), each.extension, self._result(each), each.words, due, each.reason)
        return dict(zip(_COLUMNS, values, strict=True))


def _limit(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of VMs; write 1 or more")
    return int(text)
