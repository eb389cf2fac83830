"""`onboard check`: say whether an extension supports an image, and why.

An item that cannot be read gets an error with its line number, and the items after it are still checked.

Exit codes: 0 all are supported, 1 some are not or could not be read, 2 bad arguments, or no item could be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from onboarding.application.image_check import Answer, Checker, NotAnImage, check_all, with_table
from onboarding.cli.command_list import add_command
from onboarding.cli.extension_choice import add_extension, chosen_extensions
from onboarding.cli.images.check_input import BadItem, read_line, read_list_items
from onboarding.cli.images.check_output import CheckTableWriter, CheckWriter, CsvCheckWriter, JsonCheckWriter
from onboarding.cli.io import BadInput, Commands, is_interactive, line_of, open_text, shown
from onboarding.cli.output import Form, add_output
from onboarding.domain.catalog.support_table import SupportTable
from onboarding.domain.errors import as_written, error_text
from onboarding.domain.image.overrides import NO_OVERRIDES, Overrides
from onboarding.domain.machine.machine_formats import Unrecognised, arm_form
from onboarding.loading.package_data import reference_data
from onboarding.loading.policy_folder import read_overrides

_MOST_UNREAD = 1000  # bad items before the first good one; then the file does not hold images


def add(commands: Commands) -> None:
    parser = add_command(commands, "check")
    parser.add_argument("file", nargs="?", help="JSON array, JSON Lines, CSV, or one URN on each line; - is stdin")
    parser.add_argument(
        "--image", metavar="URN", action="append", help="publisher:offer:sku[:version]; may be given several times"
    )
    parser.add_argument("--os-name", help="OS name that the guest agent reports (instanceView.osName)")
    parser.add_argument("--os-version", help="OS version that it reports (instanceView.osVersion)")
    add_extension(parser)
    parser.add_argument(
        "--support-table", default="", help="name of the table, e.g. 2017-04 (default: that of the policy or the entry)"
    )
    parser.add_argument("--overrides", metavar="FILE", help="YAML file that names the OS of your own images")
    add_output(parser, formerly={"table": Form.TABLE, "json": Form.JSONL, "csv": Form.CSV})
    parser.add_argument("--why", action="store_true", help="show the reason below each line of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    overrides = _overrides(args.overrides)
    tables = _tables(args.extension, args.support_table)
    named = _from_arguments(args)
    writer = _writer(args, tables, reasons=args.why or named is not None)
    checkers = [Checker(table, reference_data(), overrides, name) for name, table in tables]
    answered, all_supported, unread = 0, True, 0
    first: tuple[str, NotAnImage] | None = None
    for value, place in named if named is not None else _from_file(args.file):
        item = _with_arm_keys(_parse_embedded_json(value))
        try:
            answers = _answers(checkers, item)
        except NotAnImage as error:
            writer.fail(item, error_text(place, error.problem, error.fix))
            unread, first = unread + 1, first or (place, error)
            if not answered and unread == _MOST_UNREAD:
                break
        else:
            for answer in answers:
                writer.write(item, answer)
            answered += 1
            all_supported = all_supported and all(answer.supported for answer in answers)
    writer.end()
    if first is not None and not answered:
        place, wrong = first
        more = "" if unread == 1 else f"; the {unread - 1} items after it cannot be read either"
        raise BadInput(place, wrong.problem, f"{wrong.fix}{more}")
    return 0 if all_supported and not unread else 1


def _parse_embedded_json(value: Any) -> Any:
    """The value of a JSON object among lines of URNs; any other value as it is."""
    return read_line(value) if isinstance(value, str) and value.startswith("{") else value


def _answers(checkers: Sequence[Checker], item: Any) -> tuple[Answer, ...]:
    if isinstance(item, BadItem):
        raise NotAnImage(item.problem, item.fix)
    return check_all(checkers, item)


def _tables(extension: str, table: str) -> list[tuple[str, SupportTable]]:
    """The support tables to judge by, with the names of their extensions."""
    used = chosen_extensions(extension)
    return [(each.entry.name, each.table) for each in (with_table(used, table) if table else used)]


def _overrides(path: str | None) -> Overrides:
    if path is None:
        return NO_OVERRIDES
    return read_overrides(Path(path), path)


def _from_arguments(args: argparse.Namespace) -> list[tuple[Any, str]] | None:
    """The items that the arguments give; None if they are in a file."""
    items: list[tuple[Any, str]] = [(urn, f"--image {urn}") for urn in args.image or ()]
    if args.os_name is not None or args.os_version is not None:
        guest = {"osName": args.os_name or "", "osVersion": args.os_version or ""}
        items.append((guest, "--os-name"))
    if items and args.file is not None:
        raise BadInput("", f"the file {as_written(args.file)} and --image or --os-name are given", "give one of them")
    return items or None


def _from_file(path: str | None) -> Iterator[tuple[Any, str]]:
    if path is None and is_interactive():
        raise BadInput("", "nothing to check", "give a file, - for standard input, or --image publisher:offer:sku")
    with open_text(path or "-") as source:
        for item in read_list_items(source, shown(path or "-"), go_on=True):
            yield item.value, line_of(path or "-", item.line)


def _with_arm_keys(item: Any) -> Any:
    """An image as Azure PowerShell prints it, with the keys that ARM uses; anything else as it is."""
    if not isinstance(item, Mapping) or any(key in item for key in ("publisher", "urn", "properties")):
        return item
    try:
        shaped = arm_form(item)
    except Unrecognised:
        return item
    return item if "properties" in shaped else shaped


def _writer(args: argparse.Namespace, tables: list[tuple[str, SupportTable]], *, reasons: bool) -> CheckWriter:
    out: IO[str] = sys.stdout
    if args.output is not Form.TABLE:
        return CsvCheckWriter(out) if args.output is Form.CSV else JsonCheckWriter(args.output)
    return CheckTableWriter(out, tables, reasons=reasons, colours=_wants_colours(os.environ, out))


def _wants_colours(environment: Mapping[str, str], out: IO[str]) -> bool:
    return out.isatty() and not environment.get("NO_COLOR")
