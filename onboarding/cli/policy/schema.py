"""`onboard policy schema`: update the JSON Schema of policy files from the code and the catalogue.

Exit codes: 0 the file is up to date, 1 with --check if it is out of date.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from onboarding.cli.command_list import add_action
from onboarding.cli.io import Commands, read_page, write_text
from onboarding.cli.policy.policy_input import policy_folder
from onboarding.export.policy_schema import policy_schema
from onboarding.loading.package_data import managed_kinds
from onboarding.loading.policy_folder import load_catalogue_of


def add(actions: Commands) -> None:
    parser = add_action(actions, "schema")
    parser.add_argument(
        "file", nargs="?", type=Path, default=Path("docs/policy.schema.json"), help="default: %(default)s"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file is out of date")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    file: Path = args.file
    catalogue = load_catalogue_of(Path(policy_folder(os.environ)))
    if catalogue.left_out:  # a schema without some entries of the catalogue would be wrong
        raise catalogue.left_out[0].error
    wanted = json.dumps(policy_schema(catalogue.entries, managed_kinds()), indent=2, ensure_ascii=False) + "\n"
    current = os.path.isfile(file) and read_page(file) == wanted
    if not current and not args.check:
        write_text(file, wanted)
    return 1 if args.check and not current else 0
