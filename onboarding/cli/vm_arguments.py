"""The arguments that select VMs: ids, names with a resource group, or ids or VMs on standard input."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Mapping

from onboarding.cli.images.check_input import InputItem, read_list_items
from onboarding.cli.io import MAX_LIST, BadInput, line_of, read_text
from onboarding.domain.errors import as_written
from onboarding.domain.machine.machine_formats import Unrecognised, read_id
from onboarding.domain.resource_id import VmId, parse_id

_SUBSCRIPTION = "AZURE_SUBSCRIPTION_ID"


def add_vms(parser: argparse.ArgumentParser, *, several: bool) -> None:
    """Add the arguments; `read_vms` reads them."""
    what = (
        "ids, or names with -g; - reads ids or a list of VMs from standard input"
        if several
        else "id of the VM, or its name with -g"
    )
    parser.add_argument("vms", nargs="*" if several else "?", metavar="VM", help=what)
    parser.add_argument(
        "-g", "--resource-group", metavar="GROUP", default="", help="the resource group of VMs given by name"
    )
    parser.add_argument("-n", "--name", metavar="NAME", default="", help="name of a VM in that group")
    parser.add_argument(
        "--subscription",
        metavar="ID",
        default="",
        help=f"the subscription of that group (default: the setting {_SUBSCRIPTION})",
    )


def read_vms(args: argparse.Namespace, environment: Mapping[str, str]) -> tuple[VmId, ...]:
    """The VMs that the arguments select, each once."""
    given = args.vms if isinstance(args.vms, list) else [args.vms] if args.vms else []
    texts = [*_expand_stdin(given), *([args.name] if args.name else [])]
    found: dict[str, VmId] = {}
    for number, text in enumerate(texts, 1):
        vm = _vm(text, f"VM {number}", args, environment)
        found.setdefault(vm.key, vm)
    return tuple(found.values())


def read_vm(args: argparse.Namespace, environment: Mapping[str, str]) -> VmId:
    vms = read_vms(args, environment)
    if len(vms) != 1:
        problem = f"{len(vms)} VMs are named" if vms else "no VM is named"
        raise BadInput("", problem, "name one VM: by its id, or by -g GROUP -n NAME")
    return vms[0]


def _expand_stdin(given: list[str]) -> Iterator[str]:
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


def _vm(text: str, place: str, args: argparse.Namespace, environment: Mapping[str, str]) -> VmId:
    if text.startswith("/"):
        vm = parse_id(text)
    else:
        if not args.resource_group:
            problem = f"{as_written(text)} is the name of a VM without its resource group"
            raise BadInput(place, problem, "add -g GROUP, or give the VM's id")
        subscription = args.subscription or environment.get(_SUBSCRIPTION, "")
        if not subscription:
            problem = f"{as_written(text)} is the name of a VM without its subscription"
            raise BadInput(place, problem, f"add --subscription, or set {_SUBSCRIPTION}")
        vm = parse_id(str(VmId(subscription, args.resource_group, text)))
    if not isinstance(vm, VmId):
        problem = f"{as_written(text, 200)} is not the id of a VM"
        raise BadInput(place, problem, "write /subscriptions/…/virtualMachines/NAME")
    return vm
