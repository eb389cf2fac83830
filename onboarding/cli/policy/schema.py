"""`onboard policy schema`: update the JSON Schema of policy files from the code and the catalogue, or with --kind that
of another file that people write.

Exit codes: 0 the file is up to date, 1 with --check if it is out of date.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onboarding.cli.command_list import add_action
from onboarding.cli.io import Commands, read_page, write_text
from onboarding.cli.policy.cases import CasesFile
from onboarding.cli.policy.policy_input import policy_folder
from onboarding.domain.image.overrides import OverrideFile
from onboarding.domain.typed_file import json_schema
from onboarding.export.policy_schema import policy_schema
from onboarding.loading.package_data import managed_kinds
from onboarding.loading.policy_folder import load_catalogue_of


def _of_policies() -> dict[str, Any]:
    catalogue = load_catalogue_of(Path(policy_folder(os.environ)))
    if catalogue.left_out:  # a schema without some entries of the catalogue would be wrong
        raise catalogue.left_out[0].error
    return policy_schema(catalogue.entries, managed_kinds())


# By kind: where the project has the schema, and how it is made.
KINDS: Mapping[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "policy": ("docs/policy.schema.json", _of_policies),
    "overrides": ("docs/schemas/image-overrides.schema.json", lambda: json_schema(OverrideFile)),
    "cases": ("docs/schemas/cases.schema.json", lambda: json_schema(CasesFile)),
}


def add(actions: Commands) -> None:
    parser = add_action(actions, "schema")
    files = ", ".join(file for file, _ in KINDS.values())
    add_schema_file(parser, f"by kind, {files}")
    parser.add_argument("--kind", choices=KINDS, default="policy", help="of which files (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    default, schema = KINDS[args.kind]
    return update_schema(args, Path(default), schema())


def add_schema_file(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the arguments that `update_schema` reads."""
    parser.add_argument("file", nargs="?", type=Path, help=f"default: {default}")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file is out of date")


def update_schema(args: argparse.Namespace, default: Path, schema: Mapping[str, Any]) -> int:
    """Write the schema into the file, or only check it; returns the exit code."""
    file: Path = args.file or default
    wanted = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    current = os.path.isfile(file) and read_page(file) == wanted
    if not current and not args.check:
        write_text(file, wanted)
    return 1 if args.check and not current else 0
