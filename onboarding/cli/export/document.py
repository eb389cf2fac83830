"""`onboard document`: update the generated parts of a documentation page from the data.

Exit codes: 0 the page is up to date, 1 with --check if it is out of date, 2 bad input.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from onboarding.cli.command_list import add_command
from onboarding.cli.io import Commands, read_page, write_text
from onboarding.cli.policy.policy_input import policy_folder
from onboarding.export.documentation_page import fill_page, page_parts
from onboarding.loading.package_data import grammar_source, managed_kinds
from onboarding.loading.policy_folder import load_catalogue_of


def add(commands: Commands) -> None:
    parser = add_command(commands, "document")
    parser.add_argument(
        "page", nargs="?", type=Path, default=Path("docs/supported-images.md"), help="default: %(default)s"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is out of date")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    page: Path = args.page
    before = read_page(page)
    catalogue = load_catalogue_of(Path(policy_folder(os.environ)))
    if catalogue.left_out:  # a page without some entries of the catalogue would be wrong
        raise catalogue.left_out[0].error
    after = fill_page(before, page_parts(catalogue.entries.values(), grammar_source(), managed_kinds()))
    if args.check:
        return 0 if before == after else 1
    if before != after:
        write_text(page, after)
    return 0
