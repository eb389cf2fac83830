"""`onboard check`: would this image be onboarded, and why?

What cannot be read is answered with an error that names its line, and the rest is read all the same.

Exit codes: 0 all supported, 1 some not or not read, 2 bad arguments or nothing that could be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from onboarding.application.image_check import DEFAULT_EXTENSION, Answer, Checker, NotAnImage
from onboarding.cli.images.check_input import Unread, read_line, read_listed
from onboarding.cli.images.check_output import CsvWriter, JsonWriter, TableWriter, Writer
from onboarding.cli.io import BadInput, Commands, line_of, nobody_pipes, open_text, shown
from onboarding.cli.policy.policy_input import policy_folder
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.support_table import SupportTable
from onboarding.domain.errors import as_written, error_text
from onboarding.domain.image.overrides import NO_OVERRIDES, Overrides
from onboarding.domain.machine.machine_formats import Unrecognised, arm_form
from onboarding.loading.package_data import reference_data
from onboarding.loading.policy_folder import known_extension, load_catalogue_of, read_overrides

_MOST_UNREAD = 1000  # at the beginning, before it is no list of images


def add(commands: Commands) -> None:
    parser = commands.add_parser("check", help="say which images an extension supports, and why")
    parser.add_argument("file", nargs="?", help="JSON array, JSON Lines, CSV or one URN a line; - is standard input")
    parser.add_argument(
        "--image", metavar="URN", action="append", help="publisher:offer:sku[:version]; may be repeated"
    )
    parser.add_argument("--os-name", help="what the guest agent calls the system (instanceView.osName)")
    parser.add_argument("--os-version", help="and its version (instanceView.osVersion)")
    parser.add_argument("--extension", default=DEFAULT_EXTENSION, help="catalogue entry (default: %(default)s)")
    parser.add_argument("--support-table", default="", help="the table's name, such as 2017-04 (default: the entry's)")
    parser.add_argument("--overrides", metavar="FILE", help="override file (YAML) that teaches your own images")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")
    parser.add_argument("--why", action="store_true", help="give the reason below every line of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    table = load_entry(args.extension).support_table(args.support_table)
    overrides = _overrides(args.overrides)
    asked = _asked(args)
    writer = _writer(args, table, reasons=args.why or asked is not None)
    checker = Checker(table, reference_data(), overrides)
    answered, all_supported, unread = 0, True, 0
    first: tuple[str, NotAnImage] | None = None
    for value, place in asked if asked is not None else _from_file(args.file):
        item = _spelled(_of_mixed_line(value))
        try:
            answer = _answer(checker, item)
        except NotAnImage as error:
            writer.fail(item, error_text(place, error.problem, error.fix))
            unread, first = unread + 1, first or (place, error)
            if not answered and unread == _MOST_UNREAD:
                break
        else:
            writer.write(item, answer)
            answered, all_supported = answered + 1, all_supported and answer.supported
    writer.end()
    if first is not None and not answered:
        place, wrong = first
        more = "" if unread == 1 else f"; the {unread - 1} items after it cannot be read either"
        raise BadInput(place, wrong.problem, f"{wrong.fix}{more}")
    return 0 if all_supported and not unread else 1


def _of_mixed_line(value: Any) -> Any:
    """An object on a line among URNs; whatever else was read as it is."""
    return read_line(value) if isinstance(value, str) and value.startswith("{") else value


def _answer(checker: Checker, item: Any) -> Answer:
    if isinstance(item, Unread):
        raise NotAnImage(item.problem, item.fix)
    return checker.check(item)


def load_entry(name: str) -> CatalogueEntry:
    """The catalogue entry of that name: one that ships with the package, or one of the policy folder's own."""
    catalogue = load_catalogue_of(Path(policy_folder(os.environ)))
    return known_extension(name, "--extension", catalogue.entries, catalogue.unusable)


def _overrides(path: str | None) -> Overrides:
    if path is None:
        return NO_OVERRIDES
    return read_overrides(Path(path), path)


def _asked(args: argparse.Namespace) -> list[tuple[Any, str]] | None:
    """The items that the arguments themselves name; None if they are in a file."""
    items: list[tuple[Any, str]] = [(urn, f"--image {urn}") for urn in args.image or ()]
    if args.os_name is not None or args.os_version is not None:
        guest = {"osName": args.os_name or "", "osVersion": args.os_version or ""}
        items.append((guest, "--os-name"))
    if items and args.file is not None:
        raise BadInput("", f"the file {as_written(args.file)} and --image or --os-name are given", "give one of them")
    return items or None


def _from_file(path: str | None) -> Iterator[tuple[Any, str]]:
    if path is None and nobody_pipes():
        raise BadInput("", "nothing to check", "give a file, - for standard input, or --image publisher:offer:sku")
    with open_text(path or "-") as source:
        for item in read_listed(source, shown(path or "-"), go_on=True):
            yield item.value, line_of(path or "-", item.line)


def _spelled(item: Any) -> Any:
    """An image of Azure PowerShell with its keys as all others write them; a VM and what cannot be read as it is."""
    if not isinstance(item, Mapping) or any(key in item for key in ("publisher", "urn", "properties")):
        return item
    try:
        shaped = arm_form(item)
    except Unrecognised:
        return item
    return item if "properties" in shaped else shaped


def _writer(args: argparse.Namespace, table: SupportTable, *, reasons: bool) -> Writer:
    out: IO[str] = sys.stdout
    if args.format == "json":
        return JsonWriter(out)
    if args.format == "csv":
        return CsvWriter(out)
    return TableWriter(out, table, reasons=reasons, colours=_wants_colours(os.environ, out))


def _wants_colours(environment: Mapping[str, str], out: IO[str]) -> bool:
    return out.isatty() and not environment.get("NO_COLOR")
