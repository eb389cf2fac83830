"""`onboard policy schema`: bring the JSON Schema of policy files up to date with the code and the catalogue.

Exit codes: 0 the file is current (now), 1 with --check when it was not.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from onboarding.cli.io import Commands, read_page, write_text
from onboarding.cli.policy.policy_input import policy_folder
from onboarding.export.policy_schema import policy_schema
from onboarding.loading.package_data import managed_kinds
from onboarding.loading.policy_folder import load_catalogue_of


def add(actions: Commands) -> None:
    parser = actions.add_parser("schema", help="write the JSON Schema of policy files, for editors")
    parser.add_argument("file", nargs="?", type=Path, default=Path("docs/policy.schema.json"))
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the file is current")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    file: Path = args.file
    catalogue = load_catalogue_of(Path(policy_folder(os.environ)))
    if catalogue.left_out:  # what is made from the catalogue is made from all of it
        raise catalogue.left_out[0].error
    wanted = json.dumps(policy_schema(catalogue.entries, managed_kinds()), indent=2, ensure_ascii=False) + "\n"
    current = os.path.isfile(file) and read_page(file) == wanted
    if not current and not args.check:
        write_text(file, wanted)
    return 1 if args.check and not current else 0
