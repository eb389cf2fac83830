"""`onboard policy plan`: what a change of the policy files would do to a fleet, before it is deployed.

Decides for each VM with the folder as it is (`--against`) and as it is to be. The VMs are bodies in a file
(`az vm list -o json`, a Resource Graph result, JSON Lines), where what a list does not tell is `unknown`; with `--live`
they are read from Azure one by one, and nothing is written. Exit codes: 0; 1 where a policy file cannot be used or a VM
could not be read; 2 bad input, or a login that ARM does not take.
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
from onboarding.application.rules import Rules
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.images.check_input import read_listed
from onboarding.cli.io import MAX_LIST, BadInput, Commands, as_json, read_text, shown
from onboarding.cli.operations.preflight import refusal
from onboarding.cli.policy.around import add_around, read_around
from onboarding.cli.policy.live import FleetReader, Listed, Seen
from onboarding.cli.policy.policy_input import load_rules, policy_folder, read_vms
from onboarding.domain.errors import ArmError
from onboarding.domain.json_access import printable
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.machine.machine_formats import Unrecognised, read_id, read_vm
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.settings import Settings, read_settings


class Change(Struct, frozen=True):
    """What one VM and one extension come to; None where no policy of that side names the extension."""

    vm: str
    extension: str
    before: Forecast | None
    after: Forecast | None

    @property
    def is_one(self) -> bool:
        if self.before is None or self.after is None:
            # That a policy comes or goes which leaves the VM alone changes nothing.
            return self.telling.word != Outcome.OUT_OF_SCOPE
        return self.after.differs(self.before)

    @property
    def words(self) -> tuple[str, str]:
        return _word(self.before), _word(self.after)

    @property
    def telling(self) -> Forecast:
        said = self.after or self.before
        assert said is not None  # one of the sides named the extension
        return said

    def as_dict(self) -> dict[str, Any]:
        sides = {"before": self.before, "after": self.after}
        told = {name: side.as_dict() if side else None for name, side in sides.items()}
        return {"vm": self.vm, "extension": self.extension, "changed": self.is_one, **told}


def add(actions: Commands) -> None:
    parser = actions.add_parser("plan", help="show what a change of the policy files would do to a fleet")
    parser.add_argument(
        "--vm-list", metavar="FILE", help="VM bodies, as `az vm list -o json` prints them (default, or -: stdin)"
    )
    live = (
        "read the VMs from Azure: those of --vm-list if it is given, else all of --subscription, or of all that you see"
    )
    parser.add_argument("--live", action="store_true", help=live)
    parser.add_argument("--subscription", metavar="ID", action="append", help="with --live; may be given several times")
    parser.add_argument("--policies", metavar="FOLDER", help="the files as they are to be (default: the app's)")
    parser.add_argument("--against", metavar="FOLDER", help="the files as they are; without them, all is new")
    parser.add_argument("--all", action="store_true", help="also the VMs for which nothing changes")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    add_around(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    new, problems = load_rules(args.policies or policy_folder(environment), environment)
    old, others = load_rules(args.against, environment) if args.against else (None, ())
    for problem in (*problems, *others):
        print(printable(f"onboard policy plan: {problem}"), file=sys.stderr)
    seen, new, old = _seen(args, environment, new, old)
    now = datetime.now(UTC)
    for each in seen:
        if each.unread:
            print(printable(f"onboard policy plan: {_name(each.facts)}: {each.unread}"), file=sys.stderr)
    changes = [change for each in seen for change in compare(each, old, new, now)]
    # Without files to compare with, what is asked is what the policies come to.
    shown = [change for change in changes if args.all or change.is_one or old is None]
    print(_json(len(seen), changes, shown) if args.format == "json" else _table(len(seen), changes, shown))
    return 1 if problems or others or any(each.unread for each in seen) else 0


def _seen(
    args: argparse.Namespace, environment: Mapping[str, str], new: Rules, old: Rules | None
) -> tuple[list[Seen], Rules, Rules | None]:
    """The VMs, and the rules by which to decide: with management groups looked into, where Azure was asked."""
    if not args.live:
        if args.subscription:
            raise BadInput("--subscription: says what to read from Azure; give --live as well")
        around = read_around(args.around)
        return [Seen(around.facts(read_facts(body))) for body in read_vms(args.vm_list or "-", only_vms=True)], new, old
    if args.around:
        raise BadInput("--around: is for lists; with --live, groups and subscriptions are read from Azure")
    if args.vm_list and args.subscription:
        raise BadInput("--subscription: the VMs are those of --vm-list; give one of the two")
    named = {each.vm.key: each for each in _named(args.vm_list)} if args.vm_list else None
    settings = read_settings(environment)
    if wrong := [problem for problem in settings.problems if problem.startswith(("ARM_ENDPOINT", "AZURE_CLOUD"))]:
        raise BadInput("; ".join(wrong))
    fleet = None if named is None else list(named.values())
    try:
        return asyncio.run(_read(settings, new, old, fleet, args.subscription or ()))
    except NoAccess as refused:
        raise BadInput(refusal(refused, settings.arm_endpoint)) from None
    except ArmError as error:
        raise BadInput(f"the VMs cannot be listed ({error}); give their ids with --vm-list") from None


def _named(path: str) -> Iterator[Listed]:
    """The VMs of a list, in which their ids are enough."""
    for item in read_listed(io.StringIO(read_text(path, MAX_LIST)), shown(path)):
        try:
            vm = parse_id(read_id(item.value))
        except Unrecognised as error:
            raise BadInput(f"{shown(path)}, line {item.line}: {error}") from None
        if not isinstance(vm, VmId):
            raise BadInput(f"{shown(path)}, line {item.line}: has no id of a VM, and --live reads VMs by their ids")
        yield Listed(vm, _body(item.value, vm))


def _body(item: object, vm: VmId) -> Mapping[str, Any]:
    """What a list says of a VM, for where ARM does not let it be read; it may be no more than its id."""
    try:
        return read_vm(item)
    except Unrecognised:
        return {"id": str(vm), "name": vm.name}


async def _read(
    settings: Settings, new: Rules, old: Rules | None, fleet: list[Listed] | None, subscriptions: Sequence[str]
) -> tuple[list[Seen], Rules, Rules | None]:
    """Raises NoAccess, and ArmError where VMs cannot be listed."""
    # Here and not above: the SDK takes long to load, and a file needs none of it.
    from rich.console import Console

    from onboarding.app import open_fleet

    seen: list[Seen] = []
    async with open_fleet(settings) as (arm, inventory):
        new = await _looked_into(new, inventory)
        old = await _looked_into(old, inventory) if old else None
        policies = [rules.policies for rules in (new, old) if rules]
        definitions = ImageDefinitions(arm, new.reference, new.overrides)
        reader = FleetReader(arm, definitions, policies)
        with Console(stderr=True).status("listing VMs") as status:
            fleet = await reader.all_of(subscriptions) if fleet is None else fleet
            async for each in reader.read(fleet):
                seen.append(each)
                status.update(f"read {len(seen):,} of {len(fleet):,} VMs")
    return seen, new, old


async def _looked_into(rules: Rules, inventory: Inventory) -> Rules:
    """The rules with subscriptions in the place of management groups; to be asked for where any is named."""
    return replace(rules, policies=await PolicyScopes(rules.policies, inventory).policies(datetime.now(UTC)))


def compare(seen: Seen, old: Rules | None, new: Rules, now: datetime) -> Iterator[Change]:
    """One change, or none that is one, for each extension that either side names."""
    before = _by_extension(_forecasts(old, seen, now)) if old else {}
    after = _by_extension(_forecasts(new, seen, now))
    for extension in dict.fromkeys([*before, *after]):
        yield Change(_name(seen.facts), extension, before.get(extension), after.get(extension))


def _forecasts(rules: Rules, seen: Seen, now: datetime) -> Iterator[Forecast]:
    for each in forecast(rules, seen.facts, now, seen.definition):
        reached = rules.policies.reaching(seen.facts.id)
        unread = bool(seen.unread) and any(policy.extension == each.policy.extension for policy in reached)
        yield replace(each, unknown_because=seen.unread) if unread else each


def _name(facts: MachineFacts) -> str:
    return str(facts.id) if facts.id.name else str(facts.body.get("name", "(no id)"))


def _by_extension(forecasts: Iterable[Forecast]) -> Mapping[str, Forecast]:
    return {each.policy.extension: each for each in forecasts}


def _word(side: Forecast | None) -> str:
    return side.word if side else "no policy"


def _counts(changes: Iterable[Change]) -> Counter[tuple[str, str]]:
    return Counter(change.words for change in changes)


def _json(machines: int, changes: list[Change], shown: list[Change]) -> str:
    counts = [{"before": b, "after": a, "vms": n} for (b, a), n in sorted(_counts(changes).items())]
    told = {"machines": machines, "changed": sum(change.is_one for change in changes), "counts": counts}
    return as_json({**told, "changes": [change.as_dict() for change in shown]})


def _table(machines: int, changes: list[Change], shown: list[Change]) -> str:
    lines = []
    for change in shown:
        before, after = change.words
        said = change.telling
        lines.append(f"{change.vm}  {change.extension}: {before} → {after}  ({said.policy.name})")
        lines.append(f"    {said.reason}")
    lines.append(f"{machines} VMs, {sum(change.is_one for change in changes)} changes")
    for (before, after), number in sorted(_counts(changes).items(), key=lambda item: -item[1]):
        lines.append(f"  {number:6} {before} → {after}" if before != after else f"  {number:6} {after}, as before")
    return "\n".join(map(printable, lines))
