"""How every command names machines: by ARM id; by `-g GROUP -n NAME`, with `--subscription`; or by a name that is
unique in the table. Commands on several machines also read ids or VMs from standard input."""

from __future__ import annotations

import argparse
import asyncio
import io
from collections.abc import Iterator, Mapping, Sequence

from onboarding.cli.images.check_input import InputItem, read_list_items
from onboarding.cli.io import MAX_LIST, BadInput, line_of, read_text
from onboarding.domain.errors import StorageError, as_written
from onboarding.domain.machine.machine_formats import Unrecognised, read_id
from onboarding.domain.reconcile.row import Selection
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.settings import storage_connection

_SUBSCRIPTION = "AZURE_SUBSCRIPTION_ID"
_MOST_LISTED = 10  # VMs of one name


def add_vms(parser: argparse.ArgumentParser, *, several: bool) -> None:
    """Add the arguments; `read_vms` reads them."""
    what = (
        "ids, or names: with -g, or unique in the table; - reads ids or a list of VMs from standard input"
        if several
        else "id of the VM, or its name: with -g, or unique in the table"
    )
    parser.add_argument("vms", nargs="*" if several else "?", metavar="VM", help=what)
    add_vm_name(parser)


def add_vm_filter(parser: argparse.ArgumentParser) -> None:
    """The same arguments where they select rows of the table; `read_selection` reads them."""
    parser.add_argument("vms", nargs="?", metavar="VM", help="only this VM: its id, or its name")
    parser.add_argument("-g", "--resource-group", metavar="GROUP", default="", help="only VMs of this group")
    parser.add_argument("-n", "--name", "--vm", metavar="NAME", default="", help="only VMs of this name")
    parser.add_argument("--subscription", metavar="ID", default="", help="only VMs of this subscription")


def add_vm_name(parser: argparse.ArgumentParser) -> None:
    """`-g`, `-n` and `--subscription` alone."""
    parser.add_argument(
        "-g", "--resource-group", metavar="GROUP", default="", help="the resource group of VMs given by name"
    )
    parser.add_argument("-n", "--name", metavar="NAME", default="", help="name of a VM")
    parser.add_argument(
        "--subscription",
        metavar="ID",
        default="",
        help=f"the subscription of that group (default: the setting {_SUBSCRIPTION})",
    )


def read_vms(args: argparse.Namespace, environment: Mapping[str, str]) -> tuple[VmId, ...]:
    """The VMs that the arguments select, each once."""
    given = getattr(args, "vms", None) or []
    named = [*_expand_stdin([given] if isinstance(given, str) else given), *([args.name] if args.name else [])]
    places = {text: f"VM {number}" for number, text in reversed(list(enumerate(named, 1)))}
    known = {text: _without_table(text, place, args, environment) for text, place in places.items()}
    unknown = [text for text in named if known[text] is None]
    if unknown:
        known |= _from_table(unknown, places, args, environment)
    found: dict[str, VmId] = {}
    for text in named:
        vm = known[text]
        assert vm is not None  # else it is an error of `_from_table`
        found.setdefault(vm.key, vm)
    return tuple(found.values())


def read_some_vms(args: argparse.Namespace, environment: Mapping[str, str]) -> tuple[VmId, ...]:
    """As `read_vms`; raises BadInput too if no VM is named."""
    vms = read_vms(args, environment)
    if not vms:
        raise BadInput("", "no VM is named", "give ids, -g GROUP -n NAME, or - for ids on standard input")
    return vms


def read_vm(args: argparse.Namespace, environment: Mapping[str, str]) -> VmId:
    vms = read_vms(args, environment)
    if len(vms) != 1:
        problem = f"{len(vms)} VMs are named" if vms else "no VM is named"
        raise BadInput("", problem, "name one VM: by its id, or by -g GROUP -n NAME")
    return vms[0]


def read_selection(args: argparse.Namespace) -> Selection:
    """The rows that the arguments of `add_vm_filter` select."""
    if args.vms and args.name:
        raise BadInput("", f"{as_written(args.vms, 200)} and -n are given", "name the VM once")
    text = args.vms or args.name
    if not text.startswith("/"):
        return Selection(subscription=args.subscription, resource_group=args.resource_group, vm_name=text)
    vm = parse_id(text)
    if not isinstance(vm, VmId):
        raise _not_an_id(text, "VM")
    return Selection(subscription=vm.subscription, resource_group=vm.resource_group, vm_name=vm.name)


def several_named(name: str, place: str, found: Sequence[VmId]) -> BadInput:
    """The error for a name of several VMs, which lists them."""
    listed = ", ".join(f"{vm.subscription}/{vm.resource_group}" for vm in found[:_MOST_LISTED])
    more = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    problem = f"several VMs are named {as_written(name)}: in {listed}{more}"
    return BadInput(place, problem, "add --subscription or --resource-group")


def _expand_stdin(given: Sequence[str]) -> Iterator[str]:
    for text in given:
        if text == "-":
            yield from map(_id_of, read_list_items(io.StringIO(read_text("-", MAX_LIST)), "standard input"))
        else:
            yield text


def _id_of(item: InputItem) -> str:
    """The id or the name that an item of standard input gives: as a text, or as a VM in any form."""
    try:
        return read_id(item.value)
    except Unrecognised as error:
        raise BadInput(line_of("-", item.line), error.problem, error.fix) from error


def _without_table(text: str, place: str, args: argparse.Namespace, environment: Mapping[str, str]) -> VmId | None:
    """The VM, if the arguments say all of its id; else None, and the table may know it."""
    if text.startswith("/"):
        vm = parse_id(text)
    else:
        subscription = args.subscription or environment.get(_SUBSCRIPTION, "")
        if parse_id(str(VmId("s", "g", text))) is not None and not (args.resource_group and subscription):
            return None
        vm = parse_id(str(VmId(subscription or "s", args.resource_group or "g", text)))
    if not isinstance(vm, VmId):
        raise _not_an_id(text, place)
    return vm


def _not_an_id(text: str, place: str) -> BadInput:
    problem = f"{as_written(text, 200)} is not the id of a VM"
    return BadInput(place, problem, "write /subscriptions/…/virtualMachines/NAME")


def _from_table(
    names: Sequence[str], places: Mapping[str, str], args: argparse.Namespace, environment: Mapping[str, str]
) -> dict[str, VmId]:
    """The VMs of names whose group or subscription is not said: each has to be unique in the table."""
    if not _has_storage(environment):
        place, missing = places[names[0]], "subscription" if args.resource_group else "resource group"
        fix = f"add --subscription, or set {_SUBSCRIPTION}" if args.resource_group else "add -g GROUP"
        problem = f"{as_written(names[0])} is the name of a VM without its {missing}, and no storage setting is there"
        raise BadInput(place, problem, f"{fix}, or give the VM's id, or the settings of the table")
    found = _find_in_table(names, args, environment)
    vms: dict[str, VmId] = {}
    for name in names:
        matches = next(each for key, each in found.items() if key.lower() == name.lower())
        if not matches:
            where = "".join(f" in {part}" for part in (args.resource_group, args.subscription) if part)
            problem = f"the table knows no VM that is named {as_written(name)}{where}"
            raise BadInput(places[name], problem, "give its id, or -g GROUP with --subscription")
        if len(matches) > 1:
            raise several_named(name, places[name], matches)
        vms[name] = matches[0]
    return vms


def _find_in_table(
    names: Sequence[str], args: argparse.Namespace, environment: Mapping[str, str]
) -> Mapping[str, tuple[VmId, ...]]:
    # Imported here because the composition root takes long to load, and an id does not need it.
    from onboarding.app import open_ledger
    from onboarding.application.row_queries import machines_named
    from onboarding.cli.operations.preflight import diagnose_storage

    async def read() -> Mapping[str, tuple[VmId, ...]]:
        async with open_ledger(environment) as ledger:
            return await machines_named(
                ledger, names, subscription=args.subscription, resource_group=args.resource_group
            )

    try:
        return asyncio.run(read())
    except StorageError as error:
        raise asyncio.run(diagnose_storage(error, environment)) from None


def _has_storage(environment: Mapping[str, str]) -> bool:
    connection = storage_connection(environment)
    return any(value and name.partition("__")[0] == connection for name, value in environment.items())
