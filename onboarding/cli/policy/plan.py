"""`onboard policy plan`: show what a change of the policy files would do to a fleet, before it is deployed.

It decides for each VM with the old folder (`--against`) and with the new one. The VMs are bodies in a file (`az vm list
-o json`, a Resource Graph result, JSON Lines); values that a list does not have are `unknown`. With `--live` they are
read from Azure, and nothing is written. Exit codes: 0; 1 where a policy file cannot be used or a VM could not be read;
2 bad input, or a login that ARM refuses.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import replace
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from onboarding.application.operator_requests import NoAccess
from onboarding.application.ports import Inventory
from onboarding.application.preview import Forecast, forecast
from onboarding.application.readers.image_definitions import ImageDefinitions
from onboarding.application.readers.policy_scopes import PolicyScopes
from onboarding.application.reports.explanation import AUDITED_FIRST
from onboarding.application.rules import Rules
from onboarding.cli.command_list import add_action
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.images.check_input import read_list_items
from onboarding.cli.io import MAX_LIST, BadInput, CommandFailed, Commands, as_json, counted, line_of, read_text, shown
from onboarding.cli.operations.preflight import describe_refusal
from onboarding.cli.output import Form, add_output, write_records
from onboarding.cli.policy.container_files import add_container_files, read_container_files
from onboarding.cli.policy.fleet_reader import FleetMachine, FleetReader, ListedMachine
from onboarding.cli.policy.policy_input import load_rules, policy_folder, read_vms
from onboarding.domain.errors import ArmError, as_written
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.machine.machine_formats import Unrecognised, read_id, read_vm
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.settings import Settings, problems_of, read_settings


class Change(Struct, frozen=True):
    """The decision for one VM and one extension, before and after the change of the files."""

    vm: str
    extension: str

    before: Forecast | None
    """None: no policy of the old folder names the extension."""

    after: Forecast | None
    """None: no policy of the new folder names the extension."""

    @property
    def is_change(self) -> bool:
        if self.before is None or self.after is None:
            # A policy that was added or removed and does not select the VM changes nothing.
            return self.side_shown.word != Outcome.OUT_OF_SCOPE
        return self.after.differs(self.before)

    @property
    def words(self) -> tuple[str, str]:
        return _word(self.before), _word(self.after)

    @property
    def side_shown(self) -> Forecast:
        side = self.after or self.before
        assert side is not None  # a policy of one folder names the extension
        return side

    def as_dict(self) -> dict[str, Any]:
        sides = {"before": self.before, "after": self.after}
        decisions = {name: side.as_dict() if side else None for name, side in sides.items()}
        return {"vm": self.vm, "extension": self.extension, "changed": self.is_change, **decisions}

    def as_row(self) -> dict[str, Any]:
        """One row of CSV: the outcomes, and the reason of the side that is shown."""
        before, after = self.words
        side = self.side_shown
        head = {"vm": self.vm, "extension": self.extension, "changed": self.is_change, "before": before, "after": after}
        return {**head, "policy": side.policy.name, "reason": side.reason}


_COLUMNS = ("vm", "extension", "changed", "before", "after", "policy", "reason")


def add(actions: Commands) -> None:
    parser = add_action(actions, "plan")
    add_fleet(parser)
    parser.add_argument("--policies", metavar="FOLDER", help="the new policy files (default: those of the app)")
    parser.add_argument("--against", metavar="FOLDER", help="the old policy files (default: none, so that all is new)")
    parser.add_argument("--all", action="store_true", help="also show VMs for which nothing changes")
    add_output(parser, formerly={"table": Form.TABLE, "json": Form.JSON})
    add_container_files(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which VMs `read_fleet` reads."""
    parser.add_argument(
        "--vm-list", metavar="FILE", help="VM bodies, as `az vm list -o json` prints them (default: stdin)"
    )
    live = "read from Azure: the VMs of --vm-list, or all of --subscription, or all that you can see"
    parser.add_argument("--live", action="store_true", help=live)
    parser.add_argument(
        "--subscription",
        metavar="ID",
        action="append",
        help="subscription to read with --live; may be given several times",
    )


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    new, problems = load_rules(args.policies or policy_folder(environment), environment)
    old, others = load_rules(args.against, environment) if args.against else (None, ())
    for problem in (*problems, *others):
        print(printable(f"onboard policy plan: {problem}"), file=sys.stderr)
    machines, new, old = read_fleet(args, environment, new, old)
    now = datetime.now(UTC)
    for each in machines:
        if each.unread:
            print(printable(f"onboard policy plan: {name_of(each.facts)}: {each.unread}"), file=sys.stderr)
    changes = [change for each in machines for change in compare(each, old, new, now)]
    # Without old files, every decision is shown.
    shown = [change for change in changes if args.all or change.is_change or old is None]
    if args.output is Form.CSV:
        write_records(args.output, _COLUMNS, (change.as_row() for change in shown))
    elif args.output is Form.JSONL:
        write_records(args.output, (), (change.as_dict() for change in shown))
    else:
        off = [policy for policy in new.policies.policies if policy.inactive]
        write = _json if args.output is Form.JSON else _table
        print(write(len(machines), changes, shown, off))
    return 1 if problems or others or any(each.unread for each in machines) else 0


def read_fleet(
    args: argparse.Namespace, environment: Mapping[str, str], new: Rules, old: Rules | None
) -> tuple[list[FleetMachine], Rules, Rules | None]:
    """The VMs, and the rules to decide by; with --live, management groups are replaced by their subscriptions."""
    if not args.live:
        if args.subscription:
            raise BadInput("--subscription", "--subscription without --live reads nothing from Azure", "add --live")
        around = read_container_files(args.around)
        return (
            [FleetMachine(around.facts(read_facts(body))) for body in read_vms(args.vm_list or "-", only_vms=True)],
            new,
            old,
        )
    if args.around:
        fix = "remove --around; --live reads groups and subscriptions from Azure"
        raise BadInput("--around", "--around is given with --live", fix)
    if args.vm_list and args.subscription:
        raise BadInput("--subscription", "--subscription and --vm-list are both given", "give one of the two")
    named = {each.vm.key: each for each in _read_ids(args.vm_list)} if args.vm_list else None
    settings = read_settings(environment)
    if wrong := problems_of(settings, "ARM_ENDPOINT", "AZURE_CLOUD"):
        raise CommandFailed("\n".join(wrong))
    fleet = None if named is None else list(named.values())
    try:
        return asyncio.run(_read(settings, new, old, fleet, args.subscription or ()))
    except NoAccess as refused:
        raise CommandFailed(describe_refusal(refused, settings.arm_endpoint)) from refused
    except ArmError as error:
        raise BadInput("--live", f"the VMs cannot be listed: {error}", "give their ids with --vm-list") from error


def _read_ids(path: str) -> Iterator[ListedMachine]:
    """The VMs of a list, which needs no more than their ids."""
    for item in read_list_items(io.StringIO(read_text(path, MAX_LIST)), shown(path)):
        try:
            vm = parse_id(read_id(item.value))
        except Unrecognised as error:
            raise BadInput(line_of(path, item.line), error.problem, error.fix) from error
        if not isinstance(vm, VmId):
            problem = f"{as_written(item.value)} has no id of a VM"
            raise BadInput(line_of(path, item.line), problem, "give ids; --live reads VMs by their ids")
        yield ListedMachine(vm, _body(item.value, vm))


def _body(item: object, vm: VmId) -> Mapping[str, Any]:
    """The body of a VM in a list, in case ARM refuses to read the VM; it may have no more than the id."""
    try:
        return read_vm(item)
    except Unrecognised:
        return {"id": str(vm), "name": vm.name}


async def _read(
    settings: Settings, new: Rules, old: Rules | None, fleet: list[ListedMachine] | None, subscriptions: Sequence[str]
) -> tuple[list[FleetMachine], Rules, Rules | None]:
    """Raises NoAccess, and ArmError where VMs cannot be listed."""
    # Imported here because the SDK takes long to load, and reading a file does not need it.
    from rich.console import Console

    from onboarding.app import open_fleet

    machines: list[FleetMachine] = []
    async with open_fleet(settings) as (arm, inventory):
        new = await _resolve_groups(new, inventory)
        old = await _resolve_groups(old, inventory) if old else None
        policies = [rules.policies for rules in (new, old) if rules]
        definitions = ImageDefinitions(arm, new.reference, new.overrides)
        reader = FleetReader(arm, definitions, policies)
        with Console(stderr=True).status("listing VMs") as status:
            fleet = await reader.list_machines(subscriptions) if fleet is None else fleet
            async for each in reader.read(fleet):
                machines.append(each)
                status.update(f"read {len(machines):,} of {len(fleet):,} VMs")
    return machines, new, old


async def _resolve_groups(rules: Rules, inventory: Inventory) -> Rules:
    """The rules with management groups replaced by their subscriptions. ARM is only asked if a policy names one."""
    return replace(rules, policies=await PolicyScopes(rules.policies, inventory).policies(datetime.now(UTC)))


def compare(machine: FleetMachine, old: Rules | None, new: Rules, now: datetime) -> Iterator[Change]:
    """A `Change` for each extension that a policy of either folder names."""
    before = _by_extension(_forecasts(old, machine, now)) if old else {}
    after = _by_extension(_forecasts(new, machine, now))
    for extension in dict.fromkeys([*before, *after]):
        yield Change(name_of(machine.facts), extension, before.get(extension), after.get(extension))


def _forecasts(rules: Rules, machine: FleetMachine, now: datetime) -> Iterator[Forecast]:
    for each in forecast(rules, machine.facts, now, machine.definition):
        reached = rules.policies.reaching(machine.facts.id)
        unread = bool(machine.unread) and any(
            each.policy.extension in (*policy.extensions, policy.open_target) for policy in reached
        )
        yield replace(each, unknown_because=machine.unread) if unread else each


def name_of(facts: MachineFacts) -> str:
    return str(facts.id) if facts.id.name else str(facts.body.get("name", "(no id)"))


def _by_extension(forecasts: Iterable[Forecast]) -> Mapping[str, Forecast]:
    return {each.policy.extension: each for each in forecasts}


def _word(side: Forecast | None) -> str:
    return side.word if side else "no policy"


def _counts(changes: Iterable[Change]) -> Counter[tuple[str, str]]:
    return Counter(change.words for change in changes)


def _json(machines: int, changes: list[Change], shown: list[Change], off: list[Policy]) -> str:
    counts = [{"before": b, "after": a, "vms": n} for (b, a), n in sorted(_counts(changes).items())]
    changed, first = sum(change.is_change for change in changes), _audited_first(changes)
    of_all = {"changed": changed, "auditedFirst": first, "updateIfOurs": _updated(changes)}
    summary = {"machines": machines, **of_all, "counts": counts}
    inactive = [{"policy": policy.name, "because": policy.inactive} for policy in off]
    return as_json({**summary, "inactive": inactive, "changes": [change.as_dict() for change in shown]})


def _table(machines: int, changes: list[Change], shown: list[Change], off: list[Policy]) -> str:
    lines = []
    for change in shown:
        before, after = change.words
        side = change.side_shown
        after = change.after.words if change.after else after
        lines.append(f"{change.vm}  {change.extension}: {before} → {after}  ({side.policy.name})")
        lines.append(f"    {side.reason}")
        lines += [f"    do: {side.advice}"] if side.advice else []
        if side.window:
            lines.append(f"    change window: {side.window}")
    changed = sum(change.is_change for change in changes)
    lines.append(f"{counted(machines, 'VM')}, {counted(changed, 'change')}")
    for (before, after), number in sorted(_counts(changes).items(), key=lambda item: -item[1]):
        lines.append(f"  {number:6} {before} → {after}" if before != after else f"  {number:6} {after} (unchanged)")
    if first := _audited_first(changes):
        lines.append(f"  {first:6} of them {AUDITED_FIRST}")
    if updated := _updated(changes):
        lines.append(f"  {updated:6} of them updated if we installed them")
    lines += [policy.off for policy in off]
    return "\n".join(map(printable, lines))


def _audited_first(changes: Iterable[Change]) -> int:
    """How many of the VMs that would be written to are so old that a policy may only audit them."""
    return sum(change.after is not None and change.after.audited_first for change in changes)


def _updated(changes: Iterable[Change]) -> int:
    """How many of the VMs have an extension that would be updated if we installed it."""
    return sum(change.after is not None and change.after.update != "" for change in changes)
